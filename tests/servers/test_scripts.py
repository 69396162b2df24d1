"""The scripts that run servers: what they start they find again and end, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.kill.process import free_ports

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "docker" / "native"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they run on Linux only")


class Machine:
    """A machine of its own, as far as the scripts can tell: folders, and a shell in which the
    functions that all servers share are there."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.commands = folder / "bin"
        self.state.mkdir()
        self.commands.mkdir()
        self.environment = {
            **os.environ,
            "SERVICES_DIR": str(self.state),
            "SERVICES_CACHE": str(folder / "cache"),
            "PATH": f"{self.commands}:{os.environ['PATH']}",
        }

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", "-euc", f". {NATIVE}/common.sh; {script}")

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def pid(self, name: str) -> int:
        return int((self.state / f"{name}.pid").read_text().split()[0])

    def lacks(self, name: str) -> None:
        """A command that fails, in front of the real one."""
        self.answers(name, f"echo {name}: not on this machine >&2; exit 1")

    def answers(self, name: str, script: str) -> None:
        """A command that does this, in front of the real one."""
        command = self.commands / name
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)

    def clean(self) -> None:
        for file in self.state.glob("*.pid"):
            self.shell(f"halt {file.stem} 1")


@pytest.fixture
def machine(tmp_path: Path):
    made = Machine(tmp_path)
    yield made
    made.clean()


def test_what_was_launched_is_running_until_it_is_halted(machine: Machine) -> None:
    assert machine.shell("running a").returncode == 1
    machine.shell("launch a sleep 600")
    assert machine.shell("running a").returncode == 0
    assert machine.shell("halt a 5").stdout == ""
    assert machine.shell("running a").returncode == 1
    assert not list(machine.state.glob("*.pid"))


def test_a_process_that_only_has_the_number_is_left_alone(machine: Machine) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        (machine.state / "a.pid").write_text(f"{other.pid} 12345\n")
        assert machine.shell("running a").returncode == 1
        assert machine.shell("halt a 1").returncode == 0
        assert other.poll() is None
        other.kill()


def test_one_that_will_not_end_is_killed(machine: Machine) -> None:
    machine.shell(
        "launch a bash -c 'trap : TERM; touch $SERVICES_DIR/up; while :; do sleep 0.1; done'"
    )
    machine.shell("ready a 60 test -e $SERVICES_DIR/up")
    halted = machine.shell("halt a 1")
    assert "a has not ended within 1 s and is killed" in halted.stdout
    assert machine.shell("running a").returncode == 1


def test_ready_waits_until_it_answers(machine: Machine) -> None:
    machine.shell("launch a bash -c 'sleep 0.3; touch $SERVICES_DIR/up; sleep 600'")
    assert machine.shell("ready a 60 test -e $SERVICES_DIR/up").returncode == 0


def test_one_that_ends_while_it_is_waited_for_has_its_last_words_shown(machine: Machine) -> None:
    waited = machine.shell("launch a bash -c 'echo no such disk; exit 1'; ready a 30 false")
    assert waited.returncode == 1
    assert "no such disk" in waited.stderr
    assert "a ended by itself" in waited.stderr


def test_one_that_never_answers_is_given_up_and_ended(machine: Machine) -> None:
    waited = machine.shell("launch a sleep 600; ready a 1 false")
    assert waited.returncode == 1
    assert "a was not ready within 1 s" in waited.stderr
    assert machine.shell("running a").returncode == 1


def test_a_port_that_somebody_else_has_is_not_taken_for_ours(machine: Machine) -> None:
    port = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        taken = machine.shell(f"must_be_free {port} SERVICES_KAFKA_PORT")
    assert taken.returncode == 1
    assert f"port {port} is taken by another program" in taken.stderr
    assert "SERVICES_KAFKA_PORT" in taken.stderr
    assert machine.shell(f"must_be_free {port} SERVICES_KAFKA_PORT").returncode == 0


def test_what_two_want_at_the_same_time_is_made_once(machine: Machine) -> None:
    making = 'make() { echo made >>"$SERVICES_DIR/log"; sleep 0.3; echo whole >"$1"; }'
    script = f'mkdir -p "$SERVICES_CACHE"; {making}; for i in 1 2 3; do'
    made = machine.shell(f'{script} once "$SERVICES_CACHE/thing" make & done; wait')
    assert made.returncode == 0, made.stderr
    assert (machine.state / "log").read_text() == "made\n"


def test_what_could_not_be_made_does_not_look_as_if_it_was(machine: Machine) -> None:
    script = 'mkdir -p "$SERVICES_CACHE"; make() { echo half >"$1"; fail "no space"; }'
    assert machine.shell(f'{script}; once "$SERVICES_CACHE/thing" make').returncode == 1
    assert not (Path(machine.environment["SERVICES_CACHE"]) / "thing").exists()


@pytest.mark.parametrize("arguments", [(), ("begin",), ("start", "oracle")])
def test_wrong_usage_says_what_is_right(machine: Machine, arguments: tuple[str, ...]) -> None:
    done = machine.run(NATIVE / "services", *arguments)
    assert done.returncode == 2
    assert "start|stop" in done.stderr
    assert "rabbitmq mongodb kafka" in done.stderr


def test_stopping_what_does_not_run_is_no_fault(machine: Machine) -> None:
    for _ in range(2):
        done = machine.run(NATIVE / "services", "stop")
        assert done.returncode == 0
        assert "kafka     is stopped" in done.stdout.splitlines()


def test_what_is_missing_is_named_with_what_else_can_be_done(machine: Machine) -> None:
    machine.answers("id", "echo 1000")
    done = machine.run(NATIVE / "services", "start", "mongodb")
    assert done.returncode == 1
    assert "only root" in done.stderr
    assert "docker compose -f docker/compose.yaml up" in done.stderr


def test_a_system_that_is_not_meant_is_sent_to_docker(machine: Machine) -> None:
    machine.answers("uname", "echo Darwin")
    done = machine.run(NATIVE / "services", "start")
    assert done.returncode == 1
    assert "docker compose -f docker/compose.yaml up" in done.stderr
    assert not list(machine.state.iterdir())


def test_where_docker_cannot_run_compose_verify_says_so_with_a_code_of_its_own(
    machine: Machine,
) -> None:
    machine.lacks("docker")
    machine.lacks("dockerd")
    done = machine.run(ROOT / "docker" / "compose-verify.sh")
    assert done.returncode == 3
    assert "Docker" in done.stderr.splitlines()[-1]


def test_a_docker_without_compose_is_none_that_can_run_it(machine: Machine) -> None:
    machine.answers("docker", '[ "$1" != compose ]')
    machine.lacks("docker-compose")
    done = machine.run(ROOT / "docker" / "compose-verify.sh")
    assert done.returncode == 3
    assert "without compose: install its plugin" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    scripts = [file for file in (ROOT / "docker").rglob("*") if _is_script(file)]
    assert len(scripts) > 5
    command = ["shellcheck", "-x", "-P", str(NATIVE), *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == ""


def _is_script(file: Path) -> bool:
    return file.is_file() and (file.suffix == ".sh" or file.read_bytes()[:2] == b"#!")
