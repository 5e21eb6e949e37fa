"""Other engines beside Lakebed: they read what it wrote, and write what it reads.

    peer.py compare ENGINE TABLE ROWS.parquet [VERSION]   the engine's rows of the table are those of the file
    peer.py write ENGINE FOLDER                           tables by the engine, and their rows as Parquet
    peer.py find ENGINE TABLE COLUMN OP VALUE IDS         a filter finds the rows of these ids, as `1,2`
    peer.py append ENGINE TABLE ROWS.parquet              appends the rows to a table that exists
    peer.py changes deltalake TABLE ROWS.parquet          all row changes of the table are those of the file

ENGINE is `deltalake` or `duckdb`. Rows are compared as multisets; NaN equals NaN.
"""

import collections
import datetime
import decimal
import glob
import math
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq


def duck():
    """A DuckDB connection with the delta extension of the package that ships it."""
    import duckdb
    import duckdb_extension_delta

    folder = os.path.dirname(duckdb_extension_delta.__file__)
    (extension,) = glob.glob(os.path.join(folder, "extensions", "*", "delta.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def read(engine, table, version):
    """The rows of a table as the engine sees them."""
    if engine == "deltalake":
        from deltalake import DeltaTable, QueryBuilder

        opened = DeltaTable(table, version=version)
        if "v2Checkpoint" in (opened.protocol().reader_features or []):
            # Its reader of Arrow data sets has a list of features of its own; its queries have not.
            query = QueryBuilder().register("t", opened).execute("SELECT * FROM t")
            return pa.table(query.read_all())
        return pa.table(opened.to_pyarrow_table())
    if version is not None:
        connection = duck()
        connection.execute(f"ATTACH '{table}' AS t (TYPE delta, VERSION {version})")
        return connection.execute("SELECT * FROM t").to_arrow_table()
    return duck().execute(f"SELECT * FROM delta_scan('{table}')").to_arrow_table()


def plain(value):
    """A value in a form that compares and prints alike, whichever engine it came from."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value.normalize() + 0)
    if isinstance(value, dict):
        return tuple((key, plain(it)) for key, it in sorted(value.items()))
    if isinstance(value, list) and value and all(isinstance(it, tuple) and len(it) == 2 for it in value):
        return tuple(sorted((plain(key), plain(it)) for key, it in value))
    if isinstance(value, list):
        return tuple(plain(it) for it in value)
    return value


def multiset(table):
    """Rows by their content, and how often each is there."""
    names = sorted(table.column_names)
    columns = [table.column(name).to_pylist() for name in names]
    return names, collections.Counter(repr(tuple(plain(it) for it in row)) for row in zip(*columns))


def compare(engine, table, rows, version=None):
    same(engine, read(engine, table, None if version is None else int(version)), pq.read_table(rows))


def changes(engine, table, rows):
    """All but the time of a change, which the engine tells without a zone."""
    from deltalake import DeltaTable

    told = pa.table(DeltaTable(table).load_cdf(starting_version=0).read_all())
    without = lambda it: it.drop_columns(["_commit_timestamp"])
    same(engine, without(told), without(pq.read_table(rows)))


def same(engine, theirs, ours):
    theirs, ours = multiset(theirs), multiset(ours)
    assert ours[0] == theirs[0], f"columns: {ours[0]} and, by {engine}, {theirs[0]}"
    missing, extra = ours[1] - theirs[1], theirs[1] - ours[1]
    assert not missing and not extra, (
        f"{engine}: {sum(missing.values())} rows missing, as {list(missing)[:3]}; "
        f"{sum(extra.values())} rows more, as {list(extra)[:3]}"
    )
    print(sum(ours[1].values()))


def sample(first, count):
    """Rows with every type that both engines write, at the edges of their ranges."""
    utc = datetime.timezone.utc
    texts = ["", "plain", "a'b\"c", "caf\u00e9", "\U0001f600" * 40, "x" * 40, None]
    parts = ["a b", "a/b", "p=%20", "caf\u00e9", None]
    moments = [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, utc), datetime.datetime(2024, 2, 29, 12, 34, 56, 123456, utc)]
    at = range(first, first + count)
    pick = lambda values: [values[it % len(values)] for it in at]
    return pa.table(
        {
            "id": pa.array(at, pa.int64()),
            "small": pa.array(pick([-128, 0, 127, None]), pa.int8()),
            "ok": pa.array(pick([True, False, None]), pa.bool_()),
            "x": pa.array(pick([0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, None]), pa.float64()),
            "price": pa.array(pick([decimal.Decimal("12345678901234567890.12"), decimal.Decimal("-0.01"), None]), pa.decimal128(38, 2)),
            "text": pa.array(pick(texts), pa.string()),
            "blob": pa.array(pick([b"", b"\x00\xff", None]), pa.binary()),
            "day": pa.array(pick([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]), pa.date32()),
            "moment": pa.array(pick([*moments, None]), pa.timestamp("us", "UTC")),
            "inner": pa.array(pick([{"a": 1, "b": "x"}, {"a": None, "b": None}, None]), pa.struct([("a", pa.int32()), ("b", pa.string())])),
            "list": pa.array(pick([[1, None, 3], [], None]), pa.list_(pa.int32())),
            "map": pa.array(pick([[("k", 1.0), ("l", None)], [], None]), pa.map_(pa.string(), pa.float64())),
            "part": pa.array(pick(parts), pa.string()),
        }
    )


def write(engine, folder):
    from_rows = {"plain": ([], 1), "partitioned": (["part"], 12)}
    for name, (partition_by, commits) in from_rows.items():
        table = os.path.join(folder, name)
        batches = [sample(it * 70, 70) for it in range(commits)]
        if engine == "deltalake":
            from deltalake import write_deltalake

            for batch in batches:
                write_deltalake(table, batch, partition_by=partition_by or None, mode="append")
        pq.write_table(pa.concat_tables(batches), os.path.join(folder, f"{name}.parquet"))
    if engine == "deltalake":
        table = os.path.join(folder, "replaced")
        write_deltalake(table, sample(0, 100), partition_by=["part"])
        write_deltalake(table, sample(200, 50), mode="overwrite")
        pq.write_table(sample(200, 50), os.path.join(folder, "replaced.parquet"))


def find(engine, table, column, op, value, ids):
    """Filters go through the engine's own skipping by our statistics."""
    if engine == "deltalake":
        from deltalake import DeltaTable

        typed = {"true": True, "false": False}.get(value, value)
        found = DeltaTable(table).to_pyarrow_table(columns=["id"], filters=[(column, op, typed)])
        found = found.column("id").to_pylist()
    else:
        query = f"SELECT id FROM delta_scan('{table}') WHERE {column} {op} {value}"
        found = [row[0] for row in duck().execute(query).fetchall()]
    expected = [int(it) for it in ids.split(",")]
    assert sorted(found) == expected, f"{engine}: {column} {op} {value} finds {sorted(found)}, not {expected}"


def append(engine, table, rows):
    if engine == "deltalake":
        from deltalake import write_deltalake

        write_deltalake(table, pq.read_table(rows), mode="append")
        return
    connection = duck()
    connection.execute(f"ATTACH '{table}' AS t (TYPE delta)")
    connection.execute(f"INSERT INTO t SELECT * FROM read_parquet('{rows}')")


if __name__ == "__main__":
    {"compare": compare, "write": write, "find": find, "append": append, "changes": changes}[sys.argv[1]](*sys.argv[2:])
    # Threads of pyarrow now and then abort the process while Python takes itself down.
    sys.stdout.flush()
    os._exit(0)
