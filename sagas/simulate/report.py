"""A failure as people read it: the schedule, the timeline as a table, the sequence as a diagram."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sagas.simulate.many import Item, Played
from sagas.simulate.run import Result
from sagas.simulate.schedule import Schedule
from sagas.simulate.trace import Entry, Trace

__all__ = [
    "list_broken",
    "mermaid",
    "replay_command",
    "show_failure",
    "show_timeline",
    "show_unrepeatable",
    "timeline",
]

#: What a diagram shows of a process by itself.
_NOTES = ("crashes", "starts", "calls", "late", "WRONG")
#: A diagram with more is not looked at: what is left out is in the table.
MOST_ARROWS = 200
#: And a table with more is not read: what is left out is in the trace.
MOST_ROWS = 1_000
#: Of what broke one invariant, so many are listed.
MOST_LISTED = 20


def replay_command(spec: str, schedule: Schedule) -> str:
    """The one command that plays exactly this schedule again."""
    command = f"python -m sagas.simulate {spec} --seed {schedule.seed}"
    if schedule.kept_scripts is not None:
        command += f" --only-sagas {_places(schedule.kept_scripts)}"
    if schedule.kept_faults is not None:
        command += f" --only-faults {_places(schedule.kept_faults)}"
    return " ".join((command, *(f"--crash {crash.as_option}" for crash in schedule.added)))


def _places(places: tuple[int, ...]) -> str:
    return ",".join(map(str, places)) or "none"


def timeline(result: Result) -> Table:
    """Everything that happened, one row each."""
    table = Table(title=f"seed {result.schedule.seed}", show_lines=False, expand=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("who", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("", ratio=1)
    entries = result.trace.entries
    left_out = max(len(entries) - MOST_ROWS, 0)
    for place, entry in enumerate(entries):
        if place == MOST_ROWS // 2 and left_out:
            table.add_row("", "", "…", f"{left_out:,} more: --trace tells them all")
        if MOST_ROWS // 2 <= place < MOST_ROWS // 2 + left_out:
            continue
        style = "bold red" if entry.what == "WRONG" else _style(entry)
        details = Text(result.trace.text(entry))
        table.add_row(f"{entry.at:.4f}", entry.who, entry.what, details, style=style)
    return table


def _style(entry: Entry) -> str | None:
    if entry.what in ("hears", "starts"):
        return "dim"
    return "yellow" if entry.what in ("crashes", "conflict") or " " in entry.what else None


def mermaid(result: Result) -> str:
    """The messages between processes as a Mermaid sequence diagram; notes for what befell them."""
    return "\n".join(_diagram(result)) + "\n"


def _diagram(result: Result) -> Iterator[str]:
    entries = [each for each in result.trace.entries if each.what in (*_NOTES, "hears", "asks")]
    names = dict.fromkeys(each.who for each in entries)
    yield "sequenceDiagram"
    for name in names:
        yield f"    participant {_alias(name)} as {name}"
    left_out = max(len(entries) - MOST_ARROWS, 0)
    for place, entry in enumerate(entries):
        # How it ended, and how it came to that, says most.
        if place == MOST_ARROWS // 2 and left_out:
            yield f"    Note over {_alias(entry.who)}: … {left_out} more"
        if not MOST_ARROWS // 2 <= place < MOST_ARROWS // 2 + left_out:
            yield from _arrow(result.trace, entry, names)


def _arrow(trace: Trace, entry: Entry, names: Collection[str]) -> Iterator[str]:
    who, details = _alias(entry.who), [_plain(trace.short(each)) for each in entry.details]
    if entry.what == "hears":
        kind, subject, source, *_ = details
        source = source.removeprefix("from ")
        if source in names:
            yield f"    {_alias(source)}->>{who}: {kind} {subject}"
    elif entry.what == "asks":
        target, *what = details
        yield f"    {who}->>{_alias(target)}: {' '.join(what)}"
    else:
        yield f"    Note over {who}: {entry.what} {' '.join(details)}".rstrip()


def _alias(name: str) -> str:
    return name.replace("-", "_")


def _plain(text: str) -> str:
    # A semicolon or a hash would end the statement.
    return text.replace(";", ",").replace("#", "no. ").replace("\n", " ")


def show_failure(console: Console, spec: str, result: Result) -> None:
    """Everything that helps to understand one failure, and to play it again."""
    schedule = result.schedule
    wrong = "\n".join(f"• {problem}" for problem in result.problems)
    happens = [
        f"{result.trace.short(script.saga_id)}: "
        + ", then ".join(f"{type(act.command).__name__} at {act.at:.2f} s" for act in script.acts)
        for script in schedule.scripts
    ]
    faults = [str(fault) for fault in schedule.faults] or ["no faults at all"]
    console.print(Panel(Text(wrong), title=f"seed {schedule.seed} failed", border_style="red"))
    console.print(Text("\n".join(["The shortest schedule that shows it:", *happens, *faults, ""])))
    show_timeline(console, result)
    console.print("Play it again:")
    _whole_lines(console, f"  {replay_command(spec, schedule)}")


def show_unrepeatable(console: Console, schedule: Schedule, problems: Sequence[str]) -> None:
    """It broke once, and held when it was played again: the world itself is not of its seed."""
    wrong = "\n".join(f"• {problem}" for problem in problems)
    console.print(Panel(Text(wrong), title=f"seed {schedule.seed} failed", border_style="red"))
    console.print(
        "Played again it held: something takes chance, time or state from outside of the world "
        "(random, os.urandom, time.time, a global). Take them from Ids, Clock and resources().",
        highlight=False,
    )


def list_broken(console: Console, items: Sequence[Item], total: Played) -> None:
    """Everything that broke, under what it broke."""
    places: dict[str, list[int]] = {}
    for each in total.broken:
        for name in dict.fromkeys(problem.split(":", 1)[0] for problem in each.problems):
            places.setdefault(name, []).append(each.place)
    for name, broken in sorted(places.items()):
        listed = ", ".join(_label(items[place]) for place in broken[:MOST_LISTED])
        more = f", … {len(broken) - MOST_LISTED} more" if len(broken) > MOST_LISTED else ""
        console.print(f"{name}: {listed}{more}", highlight=False, markup=False, soft_wrap=True)


def _label(item: Item) -> str:
    if isinstance(item, int):
        return f"seed {item}"
    return " and ".join(crash.as_option for crash in item.added) or f"seed {item.seed}"


def show_timeline(console: Console, result: Result) -> None:
    """The table, and the sequence diagram."""
    console.print(timeline(result))
    _whole_lines(console, f"\n```mermaid\n{mermaid(result)}```\n")


def _whole_lines(console: Console, text: str) -> None:
    # Never broken, however narrow the terminal: they are there to be copied.
    console.print(text, soft_wrap=True, markup=False, highlight=False)
