"""Makes the tables of this folder with the command line of Lakebed, so that later builds must read them.

Rows stand in `expected/<table>.parquet`; they are what was handed in, not read back.

    cargo build -p lakebed-cli
    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py target/debug/lakebed
"""

import datetime
import decimal
import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
PINS = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split())
UTC = datetime.timezone.utc


def rows(first, last):
    """Rows of every type, told by their ids."""
    ids = range(first, last)
    none = lambda it: None if it % 5 == 4 else it
    some = lambda make: [None if it % 5 == 4 else make(it) for it in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "flag": pa.array(some(lambda it: it % 2 == 0)),
            "byte": pa.array(some(lambda it: it - 128), pa.int8()),
            "short": pa.array(some(lambda it: it - 32768), pa.int16()),
            "integer": pa.array(some(lambda it: 2**31 - 1 - it), pa.int32()),
            "single": pa.array(some(lambda it: it / 4), pa.float32()),
            "double": pa.array(some(lambda it: float("nan") if it == 1 else it / 10), pa.float64()),
            "price": pa.array(some(lambda it: decimal.Decimal(it) / 100), pa.decimal128(12, 2)),
            "text": pa.array(some(lambda it: f"\u00e9\u4e2d{it}")),
            "bytes": pa.array(some(lambda it: bytes([it, 255])), pa.binary()),
            "day": pa.array(some(lambda it: datetime.date(1969, 12, 25) + datetime.timedelta(it))),
            "at": pa.array(
                some(lambda it: datetime.datetime(9999, 12, 31, 23, 59, 59, 999999 - it, UTC)), pa.timestamp("us", "UTC")
            ),
            "local": pa.array(some(lambda it: datetime.datetime(1, 1, 1, 0, 0, 0, it)), pa.timestamp("us")),
            "inner": pa.array(
                some(lambda it: {"a": it, "b": [str(it), None]}), pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])
            ),
            "pairs": pa.array(some(lambda it: [("k", none(it))]), pa.map_(pa.string(), pa.int64())),
            "p": pa.array(["a b/c=d%e:f" if it % 3 else None for it in ids]),
        }
    )


def main():
    for package, version in PINS.items():
        have = importlib.metadata.version(package)
        assert have == version, f"{package} is {have}, this folder was made with {version}"
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    shutil.rmtree(HERE / "tables", ignore_errors=True)
    (HERE / "tables").mkdir()
    (HERE / "expected").mkdir(exist_ok=True)

    def write(name, data, *options):
        with tempfile.TemporaryDirectory() as folder:
            file = str(pathlib.Path(folder) / "rows.parquet")
            pq.write_table(data, file)
            subprocess.run([binary, "write", str(HERE / "tables" / name), file, *options], check=True)

    parts = [rows(0, 8), rows(8, 11), rows(11, 12)]
    for part in parts:
        write("partitioned", part, "--partition-by", "p")
    pq.write_table(pa.concat_tables(parts), HERE / "expected" / "partitioned.parquet", compression="zstd")

    write("overwritten", rows(0, 3))
    write("overwritten", rows(3, 6), "--mode", "overwrite")
    # The tenth commit after the first leaves a checkpoint.
    for at in range(6, 16):
        write("overwritten", rows(at, at + 1).select(["id", "text"]))
    missing = pa.concat_tables([rows(6, 16).select(["id", "text"])])
    whole = pa.concat_tables([rows(3, 6), missing], promote_options="default")
    pq.write_table(whole, HERE / "expected" / "overwritten.parquet", compression="zstd")


if __name__ == "__main__":
    main()
