"""Lakebed beside other engines: one `op_X(params) -> dict` an operation, each a fresh run of `lakebed-bench`.

The drivers find this file through LAKEBED_ADAPTER. LAKEBED_BENCH_BIN names the program; by default it is the release
build of this checkout (`cargo build --release --package lakebed-benches`).
"""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LAKEBED_BENCH_BIN", str(ROOT / "target" / "release" / "lakebed-bench"))


def command(operation, table, **options):
    words = [PROGRAM, operation, table]
    for key, value in options.items():
        if value is not None:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words


def answer(text):
    return json.loads(text.strip().splitlines()[-1])


def run(operation, table, variables=None, **options):
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command(operation, table, **options), capture_output=True, text=True, env=environment)
    return {"error": done.stderr.strip()[-400:]} if done.returncode else answer(done.stdout)


def where(terms):
    """`[[column, op, value], ..]` as one SQL condition; text takes the type of its column."""
    if not terms:
        return None
    literal = lambda value: "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
    return " AND ".join(f'"{column}" {op} {literal(value)}' for column, op, value in terms)


def op_open(p):
    return run("open", p["table"])


def op_files(p):
    return run("files", p["table"])


op_actions = op_files


def op_plan(p):
    return run("plan", p["table"], where=where(p["pred"]))


def op_write(p):
    options = {"codec": p.get("codec", "snappy"), "level": p.get("level"), "target_bytes": p.get("target_file_size")}
    options |= {"stream": p.get("stream"), "sync": os.environ.get("LAKEBED_BENCH_SYNC")}
    return run("write", p["table"], src=p["src"], **options)


def op_appends(p):
    # One writer holds its snapshot; among many each looks anew.
    held = None if "start_at" in p else 1
    options = {"held": held, "sync": os.environ.get("LAKEBED_BENCH_SYNC"), "start_at": p.get("start_at")}
    return run("appends", p["table"], p.get("storage_options"), src=p["src"], n=p["n"], codec="snappy", **options)


def op_count(p):
    return run("count", p["table"])


def op_scan(p):
    columns = ",".join(p["cols"]) if p.get("cols") else None
    return run("scan", p["table"], columns=columns, where=where(p.get("pred")), sum=p.get("sum"))


def op_take(p):
    return run("take", p["table"], columns=",".join(p["cols"]), n=p["n"], rows=p["rows"])


def op_epoch(p):
    """All in memory, as the in-memory peers do it: batches are not bounded by what a read from disk costs."""
    return run("epoch", p["table"], columns=",".join(p["cols"]), batch=p["batch"])


def op_refresh(p):
    """New commits appear, written by the driver's generator, between two looks of one process."""
    import gen_log

    process = subprocess.Popen(command("refresh", p["table"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    log = os.path.join(p["table"], "_delta_log")
    for k in range(p["new"]):
        gen_log.tail_commit(log, p["first"] + k, p["i0"] + k)
    output, _ = process.communicate("go\n")
    return answer(output)
