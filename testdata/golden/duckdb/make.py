"""Makes the tables of this folder: DuckDB appends to empty tables, which it cannot create.

Two versions, as the older one writes paths with a leading slash, and the number of rows for the size of a
file. Rows stand in `expected/<table>.parquet`; they are the values inserted, not what DuckDB reads back.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py
    python3 -m venv old && old/bin/pip install -r requirements-1.4.txt && old/bin/python make.py
"""

import datetime
import decimal
import glob
import importlib.metadata
import json
import os
import pathlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = {"1.5.5": "requirements.txt", "1.4.4": "requirements-1.4.txt"}

COLUMNS = [
    ("id", "long", pa.int64()),
    ("flag", "boolean", pa.bool_()),
    ("small", "short", pa.int16()),
    ("real", "double", pa.float64()),
    ("price", "decimal(10,2)", pa.decimal128(10, 2)),
    ("name", "string", pa.string()),
    ("day", "date", pa.date32()),
    ("at", "timestamp", pa.timestamp("us", "UTC")),
]
UTC = datetime.timezone.utc
ROWS = [
    (1, True, -32768, 1.5, decimal.Decimal("-0.01"), "a b", datetime.date(1969, 12, 31),
     datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
    (2, False, 32767, float("inf"), decimal.Decimal("99999999.99"), "\u00e9\u4e2d", datetime.date(2024, 2, 29),
     datetime.datetime(2024, 2, 29, 12, 34, 56, 123456, UTC)),
    (3, None, None, None, None, None, None, None),
]
MORE = [(4, True, 0, -0.0, decimal.Decimal("0"), "", datetime.date(1, 1, 1), datetime.datetime(1, 1, 1, tzinfo=UTC))]


def connect(version):
    import duckdb

    if version == "1.4.4":
        import duckdb_ext

        connection = duckdb_ext.init(duckdb.connect())
        connection.execute("LOAD delta")
    else:
        import duckdb_extension_delta

        folder = os.path.dirname(duckdb_extension_delta.__file__)
        (extension,) = glob.glob(os.path.join(folder, "extensions", "*", "delta.duckdb_extension"))
        connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD '{extension}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def create(table, partition_columns):
    """An empty table: DuckDB appends only."""
    fields = [{"name": name, "type": of, "nullable": True, "metadata": {}} for name, of, _ in COLUMNS]
    metadata = {
        "id": "00000000-0000-4000-8000-000000000000",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": partition_columns,
        "configuration": {},
        "createdTime": 0,
    }
    log = table / "_delta_log"
    log.mkdir(parents=True)
    lines = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}]
    (log / "00000000000000000000.json").write_text("".join(json.dumps(it) + "\n" for it in lines))


def main():
    version = importlib.metadata.version("duckdb")
    pins = dict(line.split("==") for line in (HERE / VERSIONS[version]).read_text().split())
    for package, pin in pins.items():
        have = importlib.metadata.version(package)
        assert have == pin, f"{package} is {have}, this folder was made with {pin}"
    short = version[:3].replace(".", "_")
    for kind, partition_columns in [("plain", []), ("partitioned", ["small"])]:
        name = f"v{short}_{kind}"
        table = HERE / "tables" / name
        shutil.rmtree(table, ignore_errors=True)
        create(table, partition_columns)
        # Several partitions in one INSERT make the older version crash.
        rows = [ROWS[:1], ROWS[1:2], MORE] if partition_columns else [ROWS, MORE]
        connection = connect(version)
        connection.execute(f"ATTACH '{table}' AS t (TYPE delta)")
        for some in rows:
            marks = ", ".join("?" for _ in COLUMNS)
            connection.execute(f"INSERT INTO t VALUES {', '.join(f'({marks})' for _ in some)}", [it for row in some for it in row])
        connection.close()
        all_rows = [row for some in rows for row in some]
        columns = {
            column: pa.array([row[at] for row in all_rows], arrow) for at, (column, _, arrow) in enumerate(COLUMNS)
        }
        (HERE / "expected").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), HERE / "expected" / f"{name}.parquet", compression="zstd")


if __name__ == "__main__":
    main()
