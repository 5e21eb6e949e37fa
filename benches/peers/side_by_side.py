"""Lakebed beside deltalake, from this checkout alone: the same tables, each operation in a fresh process.

    cargo build --release --package lakebed-benches
    python3 -m venv venv && venv/bin/pip install deltalake==1.6.6 pyarrow==25.0.1
    venv/bin/python benches/peers/side_by_side.py [--data DIR] [--files 100000] [--rows 2000000] [--runs 3]

Tables are made once in DIR by deltalake and kept there. Engines take turns (A B A B ..), so that a busy machine hits
both alike; a line gives the median of each and their ratio. The answers must agree, or the run ends with status 1.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import lakebed_adapter as lakebed

PART = "2024-03-01"


# ---- tables


def log_of(folder, files):
    """A table of `files` entries in one checkpoint, with statistics; there are no data files behind them."""
    from deltalake import DeltaTable

    if (folder / "done").exists():
        return
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    fields = [("id", "long"), ("price", "double"), ("note", "string"), ("day", "date")]
    schema = {"type": "struct", "fields": [{"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in fields]}
    head = [
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": {"id": "side-by-side", "format": {"provider": "parquet", "options": {}}, "configuration": {},
                      "schemaString": json.dumps(schema), "partitionColumns": ["day"], "createdTime": 0}},
    ]
    with open(log / f"{0:020d}.json", "w") as out:
        out.writelines(json.dumps(it) + "\n" for it in head + [added(at) for at in range(files)])
    DeltaTable(str(folder)).create_checkpoint()
    (folder / "done").touch()


def added(at):
    day = f"2024-{at % 12 + 1:02d}-{at % 28 + 1:02d}"
    bounds = lambda high: {"id": at * 1000 + 999 * high, "price": 0.5 + high, "note": f"note {at:08d} {'z' if high else 'a'}"}
    stats = {"numRecords": 1000, "minValues": bounds(0), "maxValues": bounds(1), "nullCount": dict.fromkeys(["id", "price", "note"], 0)}
    return {"add": {"path": f"day={day}/part-{at:08d}.snappy.parquet", "partitionValues": {"day": day}, "size": 40_000 + at,
                    "modificationTime": 1_700_000_000_000 + at, "dataChange": True, "stats": json.dumps(stats)}}


def rows_of(folder, rows):
    """A table of `rows` rows in four files, ordered by `id`."""
    import pyarrow
    import pyarrow.compute
    from deltalake import write_deltalake

    if (folder / "done").exists():
        return
    for quarter in range(4):
        first, count = quarter * rows // 4, rows // 4
        ids = pyarrow.array(range(first, first + count), pyarrow.int64())
        scattered = pyarrow.compute.bit_wise_xor(ids, pyarrow.scalar(0x5A5A5))
        notes = pyarrow.compute.binary_join_element_wise("note ", pyarrow.compute.cast(scattered, pyarrow.string()), "")
        prices = pyarrow.compute.divide(pyarrow.compute.cast(scattered, pyarrow.float64()), 7.0)
        table = pyarrow.table({"id": ids, "part": scattered, "price": prices, "note": notes})
        write_deltalake(str(folder), table, mode="append")
    (folder / "done").touch()


# ---- deltalake, in a process of its own


def theirs(operation, table, where, columns):
    from deltalake import DeltaTable, QueryBuilder

    start = time.perf_counter()
    if operation == "open":
        table = DeltaTable(table, without_files=True)
        answer = {"version": table.version()}
    elif operation == "files":
        answer = {"n_files": len(DeltaTable(table).file_uris())}
    elif operation == "plan":
        condition = f"day = '{PART}'" if where == "day" else f"id > {where[0]} AND id < {where[1]}"
        answer = {"n_files": len(DeltaTable(table).file_uris(file_pruning_predicate=condition))}
    else:
        query = QueryBuilder().register("t", DeltaTable(table))
        names = ", ".join(columns) if columns else "*"
        condition = f" WHERE id > {where[0]} AND id < {where[1]}" if where else ""
        batches = query.execute(f"SELECT {names} FROM t{condition}").read_all()
        answer = {"rows": batches.num_rows}
    answer["seconds"] = time.perf_counter() - start
    return answer


def ours(operation, table, where, columns):
    terms = None
    if where == "day":
        terms = [["day", "=", PART]]
    elif where:
        terms = [["id", ">", where[0]], ["id", "<", where[1]]]
    parameters = {"table": table, "pred": terms, "cols": columns}
    answer = getattr(lakebed, f"op_{operation}")(parameters)
    if "error" in answer:
        return answer
    answer["seconds"] = answer.get("open_s") or answer["total_s"]
    return answer


def fresh(job):
    """The answer of one operation of deltalake, and its peak memory in MB."""
    done = subprocess.run([sys.executable, __file__, "--job", json.dumps(job)], capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-400:]}


# ---- the table of results


def beside(title, runs, operation, table, where=None, columns=None):
    job = [operation, str(table), where, columns]
    mine, other = [], []
    for _ in range(runs):
        mine.append(ours(*job))
        other.append(fresh(job))
    for answer in mine + other:
        if "error" in answer:
            raise SystemExit(f"{title}: {answer['error']}")
    keys = [it for it in ("version", "n_files", "rows") if it in mine[0] and it in other[0]]
    said = {tuple(it[key] for key in keys) for it in mine + other}
    if len(said) != 1:
        raise SystemExit(f"{title}: the answers differ: {said}")
    seconds = lambda of: statistics.median(it["seconds"] for it in of)
    memory = lambda of: statistics.median(it.get("rss_mb", 0) for it in of)
    a, b = seconds(other), seconds(mine)
    print(f"| {title} | {a:.3f} s, {memory(other):.0f} MB | {b:.3f} s, {memory(mine):.0f} MB | {a / b:.1f}x |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(pathlib.Path(tempfile.gettempdir()) / "lakebed-side-by-side"))
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        answer = theirs(*json.loads(options.job))
        status = pathlib.Path("/proc/self/status")
        peak = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
        answer["rss_mb"] = int(peak[0]) / 1024 if peak else 0
        print(json.dumps(answer))
        return

    log, rows = (pathlib.Path(options.data) / name for name in (f"log-{options.files}", f"rows-{options.rows}"))
    log_of(log, options.files)
    rows_of(rows, options.rows)
    middle = options.files * 500
    narrow = [options.rows // 2, options.rows // 2 + options.rows // 1000]
    print("| work | deltalake | Lakebed | |\n|---|---|---|---|")
    beside(f"{options.files} files: open", options.runs, "open", log)
    beside("file list", options.runs, "files", log)
    beside("plan by partition", options.runs, "plan", log, "day")
    beside("plan by statistics", options.runs, "plan", log, [middle, middle + 5000])
    beside(f"{options.rows} rows: all columns", options.runs, "scan", rows)
    beside("two columns", options.runs, "scan", rows, None, ["id", "price"])
    beside("0.1 % by the clustered key", options.runs, "scan", rows, narrow, ["id", "price"])


if __name__ == "__main__":
    main()
