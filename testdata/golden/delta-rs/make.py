"""Makes the tables of this folder with delta-rs.

Rows stand in `expected/<table>.parquet`; they are worked out here, not read back.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py
"""

import datetime
import decimal
import importlib.metadata
import pathlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

HERE = pathlib.Path(__file__).resolve().parent
PINS = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split())
UTC = datetime.timezone.utc

TYPES = pa.schema(
    [
        ("id", pa.int64()),
        ("flag", pa.bool_()),
        ("byte", pa.int8()),
        ("short", pa.int16()),
        ("integer", pa.int32()),
        ("single", pa.float32()),
        ("double", pa.float64()),
        ("price", pa.decimal128(38, 10)),
        ("text", pa.string()),
        ("bytes", pa.binary()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("local", pa.timestamp("us")),
        ("inner", pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        ("pairs", pa.map_(pa.string(), pa.int64())),
    ]
)
ROWS = [
    {
        "id": 1, "flag": True, "byte": -128, "short": -32768, "integer": -(2**31), "single": float("-inf"),
        "double": float("nan"), "price": decimal.Decimal("-9999999999999999999999999999.0000000001"),
        "text": "\u00e9\u4e2d\U0001f600", "bytes": b"\x00\xff", "day": datetime.date(1, 1, 1),
        "at": datetime.datetime(1, 1, 1, tzinfo=UTC), "local": datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        "inner": {"a": 1, "b": ["x", None]}, "pairs": [("k", 1), ("n", None)],
    },
    {
        "id": 2, "flag": False, "byte": 127, "short": 32767, "integer": 2**31 - 1, "single": 0.5, "double": -0.0,
        "price": decimal.Decimal("0.0000000001"), "text": "", "bytes": b"", "day": datetime.date(9999, 12, 31),
        "at": datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "local": datetime.datetime(2024, 2, 29, 12),
        "inner": None, "pairs": [],
    },
    {"id": 3},
]


def keep(name, rows):
    (HERE / "expected").mkdir(exist_ok=True)
    pq.write_table(rows, HERE / "expected" / f"{name}.parquet", compression="zstd")


def fresh(name):
    table = HERE / "tables" / name
    shutil.rmtree(table, ignore_errors=True)
    table.parent.mkdir(exist_ok=True)
    return str(table)


def types():
    rows = pa.Table.from_pylist(ROWS, TYPES)
    table = fresh("types")
    write_deltalake(table, rows.slice(0, 2))
    write_deltalake(table, rows.slice(2), mode="append")
    DeltaTable(table).create_checkpoint()
    keep("types", rows)


def partitions():
    rows = pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int32()),
            "p": pa.array(["a b/c=d%e:f", "\u00e9", None, "plain"], pa.string()),
            "day": pa.array([datetime.date(2024, 2, 29), datetime.date(1969, 12, 31), None, datetime.date(1, 1, 1)]),
        }
    )
    table = fresh("partitions")
    write_deltalake(table, rows, partition_by=["p", "day"])
    DeltaTable(table).delete("id = 4")
    keep("partitions", rows.slice(0, 3))


def operations():
    """Copy on write, a change feed, an evolved schema, a constraint, compaction."""
    table = fresh("operations")
    first = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "v": ["a", "b", "c"]})
    write_deltalake(table, first, configuration={"delta.enableChangeDataFeed": "true"})
    of = DeltaTable(table)
    of.update(updates={"v": "'new'"}, predicate="id = 2")
    of.delete("id = 1")
    more = pa.table({"id": pa.array([4], pa.int64()), "v": ["d"], "late": pa.array([1.5], pa.float64())})
    write_deltalake(table, more, mode="append", schema_mode="merge")
    of = DeltaTable(table)
    source = pa.table({"id": pa.array([3, 5], pa.int64()), "v": ["merged", "e"], "late": pa.array([None, 2.5], pa.float64())})
    merge = of.merge(source, "t.id = s.id", source_alias="s", target_alias="t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    of = DeltaTable(table)
    of.optimize.compact()
    of.alter.add_constraint({"positive": "id > 0"})
    rows = [(2, "new", None), (3, "merged", None), (4, "d", 1.5), (5, "e", 2.5)]
    columns = list(zip(*rows))
    keep(
        "operations",
        pa.table({"id": pa.array(columns[0], pa.int64()), "v": list(columns[1]), "late": pa.array(columns[2], pa.float64())}),
    )


def main():
    for package, version in PINS.items():
        have = importlib.metadata.version(package)
        assert have == version, f"{package} is {have}, this folder was made with {version}"
    types()
    partitions()
    operations()


if __name__ == "__main__":
    main()
