"""Profiles each case: a flame graph of a worker, and the slowest SQL statements."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ci.bench.cases import Cases
from ci.bench.load import Run
from ci.bench.stack import Stack
from ci.laptop import launch

SECONDS = 5


def write(stack: Stack, cases: Cases, folder: Path) -> None:
    """Write `<case>.svg` and `<case>.sql.txt` into the folder. Raises Void, and RuntimeError if py-spy fails."""
    folder.mkdir(parents=True, exist_ok=True)
    cases.create(1.0)
    for name, work in {"create": cases.create, "get": cases.get, "replay": cases.replay, "paid": cases.paid}.items():
        stack.statistics("SELECT pg_stat_statements_reset()")
        _flame_graph(stack, folder / f"{name}.svg", work)
        _slow_sql(stack, folder / f"{name}.sql.txt")
        print(f"  {name}: {folder / name}.svg, {name}.sql.txt", flush=True)


def _flame_graph(stack: Stack, path: Path, work: Callable[[float], Run]) -> None:
    worker = stack.tree("order-web")[1].pid
    spy = str(Path(sys.executable).with_name("py-spy"))
    argv = [spy, "record", "--pid", str(worker), "--duration", str(SECONDS), "--rate", "250", "--gil"]
    process = subprocess.Popen(
        launch.with_parent([*argv, "--output", str(path)], "TERM"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    work(SECONDS)
    output, _ = process.communicate(timeout=60)
    if process.returncode:
        raise RuntimeError(f"py-spy failed: {output.decode()}")


def _slow_sql(stack: Stack, path: Path) -> None:
    rows = stack.statistics(
        """SELECT calls, round(mean_exec_time::numeric, 3), round(total_exec_time::numeric), wal_bytes / calls,
                  regexp_replace(left(query, 300), '\\s+', ' ', 'g')
           FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 15""",
    )
    lines = [
        f"{calls:>8} calls  {mean:>8} ms each  {total:>8} ms  {wal:>6} bytes of WAL  {sql}"
        for calls, mean, total, wal, sql in rows
    ]
    path.write_text(f"{time.strftime('%F %T')}\n" + "\n".join(lines) + "\n")
