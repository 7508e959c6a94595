#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Breaks chosen lines of the library, one at a time, in a copy: the tests must fail each time.

    tests/mutations/mutate.py [part of a name]...

Each mutation names the tests that are to notice it. They are compiled against a copy of include/
with that one change; a test that hangs has noticed it too. The same tests are first run against the
unchanged library, where they must pass. Where a mutation is a race of a few instructions, the tests
run with atomics that give the processor away at random (jittered_atomic.hpp), so that one core shows
it as well.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++20", "-O1", "-UNDEBUG", "-pthread", f"-I{ROOT}/tests"]
# When a test hangs. It is the processor's seconds that count, where the system tells: a busy machine
# must not look like a hang.
PATIENCE = 60  # seconds it may run, and so many times as long as with the unchanged library
SLOWER = 20
REST = 30      # seconds it may sleep
MODEL_FLAGS = ['-DTROUPE_ATOMIC_HEADER="model/checker/atomic.hpp"', "-DTROUPE_POOL_FRAMES=0", "-O2"]
JITTER_FLAGS = ['-DTROUPE_ATOMIC_HEADER="mutations/jittered_atomic.hpp"']
# What of the checker sees nothing of the library is compiled once.
CHECKER_ALONE = ("choices", "explanations", "fiber", "heap", "main", "mutations", "sites")
CHECKER_INSIDE = ["model/checker/engine.cpp"]


class Mutation:
    def __init__(self, name, file, old, new, tests, filter="", jitter=False):
        self.name, self.file, self.old, self.new = name, file, old, new
        self.tests, self.filter, self.jitter = tests, filter, jitter
        # What the tests of a layer share has the same names as what those of another do.
        assert len({test.split("/")[0] for test in tests}) == 1, f"{name}: tests of one layer"

    def how(self):
        """Which tests, and how they are run."""
        return tuple(self.tests), self.filter, self.jitter


MUTATIONS = [
    Mutation("a turn ends without looking at the mail", "actor/cell.hpp",
             "    leave_with_mail();\n", "    word_.store(word_idle, order::release);\n",
             ["model/cell.cpp"], "cell."),
    Mutation("the inbox is taken newest first", "actor/message.hpp",
             "      m->next = after;\n", "      m->next = after; if (after == nullptr) front_ = m;\n",
             ["actor/tell.cpp", "actor/mailbox.cpp"]),
    Mutation("two may enter an idle worker", "actor/cell.hpp",
             "return word_.compare_exchange_strong(idle, word_plain, order::acquire, order::relaxed);",
             "if (word_.load(order::relaxed) != idle) return false;\n"
             "    word_.store(word_plain, order::relaxed);\n    return true;",
             ["model/cell.cpp"], "cell."),
    Mutation("whoever adds work wakes nobody", "exec/sleepers.hpp",
             "    return take_sleeper();\n", "    return nobody;\n",
             ["exec/thread_pool.cpp"]),
    Mutation("a sleeper does not look again", "exec/thread_pool.hpp",
             "  if (stopping || anything_ready()) {\n", "  if (stopping) {\n",
             ["exec/thread_pool.cpp"], jitter=True),
    Mutation("a permit is lost by parking", "sync/parker.hpp",
             "  if (take_permit()) return false;\n", "  take_permit();\n",
             ["sync/parker.cpp"]),
    Mutation("a lock is not released", "actor/cell_mailbox.hpp",
             "inline void cell::unlist_turn(turn& t) noexcept {\n  const spin_guard guard(mail_lock_);\n",
             "inline void cell::unlist_turn(turn& t) noexcept {\n  mail_lock_.lock();\n",
             ["actor/calls.cpp"]),
    Mutation("a call settles twice", "actor/owned_call.hpp",
             "    if (before > outcome::waiting) return false;\n", "",
             ["actor/within.cpp", "actor/within_threads.cpp"]),
    Mutation("cycles are not looked for", "actor/wait_graph.hpp",
             "    return enter_locked(w, t, point);\n",
             "    return {};\n",
             ["actor/cycles.cpp"]),
    Mutation("what became ready is not scheduled", "actor/turn.hpp",
             "  return word == parked;\n", "  return word == parked && r.next != nullptr;\n",
             ["actor/calls.cpp"]),
    Mutation("the budget never runs out", "coro/frame.hpp",
             "  child.budget = parent.budget - 1;\n", "  child.budget = parent.budget;\n",
             ["coro/when_all.cpp"]),
    Mutation("a stop comes before the error that asks for it", "coro/task_scope.hpp",
             "    {\n      const spin_guard guard(lock_);\n"
             "      if (!error_) error_ = std::move(error);\n    }\n    request_stop();\n",
             "    request_stop();\n    {\n      const spin_guard guard(lock_);\n"
             "      if (!error_) error_ = std::move(error);\n    }\n",
             ["coro/task_scope.cpp"]),
    Mutation("an evicted worker goes with its queue", "actor/cell_mailbox.hpp",
             "held > word_last || !batch_.empty() || !queue_.empty()",
             "held > word_last || !batch_.empty()",
             ["actor/mailbox.cpp"]),
    Mutation("a found cell is deleted all the same", "broker/registry.hpp",
             "    if (!c.release_last()) return true;  // found again, under this lock\n",
             "    static_cast<void>(c.release_last());\n",
             ["broker/keys.cpp"], jitter=True),
    Mutation("who adds work looks for sleepers before it is seen", "exec/sleepers.hpp",
             "word_.fetch_add(0, order::release);  // pairs with enter, end_search",
             "word_.load(order::acquire);",
             ["model/sleepers.cpp"], "sleepers."),
    Mutation("parking overwrites a permit", "sync/parker.hpp",
             "  if (word_.compare_exchange_strong(expected, parked, detail::order::relaxed,\n"
             "                                    detail::order::relaxed)) {\n    return true;\n  }\n",
             "  word_.store(parked, detail::order::relaxed);\n  if (expected == empty) return true;\n",
             ["model/parker.cpp"], "parker."),
    Mutation("an eviction does not hold the worker", "actor/cell_mailbox.hpp",
             "      if (acquire(seen)) {\n        owner_.evicted",
             "      if (word() == seen) {\n        word_.store(word_held, order::relaxed);\n"
             "        owner_.evicted",
             ["model/cell.cpp"], "cell."),
    Mutation("a worker that is being made is made once more", "broker/registry.hpp",
             "if (cell_record* const r = s.find(tag_of(hash), is_called(a, key))) return counted(*r);",
             "if (cell_record* const r = s.find(tag_of(hash), is_called(a, key));\n"
             "      r != nullptr && (cell::of(*r).alive() || cell::of(*r).word() == word_dormant)) {\n"
             "    return counted(*r);\n  }",
             ["sim/closing.cpp"]),
    Mutation("a hook that comes after the stop request is not told", "coro/stop_token.hpp",
             "  if (requested_.load(order::acquire)) return false;\n  hook.next_", "  hook.next_",
             ["coro/stop_token.cpp"]),
    Mutation("a stop request that comes before its call is in line is lost", "actor/cell_mailbox.hpp",
             "return hook.try_attach(stop) && push(m, seen);",
             "hook.try_attach(stop);\n  return push(m, seen);",
             ["model/turn.cpp"], "turn.withdrawn"),
    Mutation("a call that is stopped as it is put in line stays in the wait graph",
             "actor/pending_call.hpp",
             "      wait_graph_leave();\n      return settle_failed(errc::cancelled, flag);\n    }\n"
             "    withdraw_.detach();",
             "      return settle_failed(errc::cancelled, flag);\n    }\n    withdraw_.detach();",
             ["broker/stop_requests.cpp"]),
    Mutation("a limited call that runs is not asked to stop", "actor/owned_call.hpp",
             "if (!withdraw()) return request_stop();", "if (!withdraw()) return;",
             ["actor/within.cpp"]),
    Mutation("a timer fires up to a tick early", "time/timer_wheel.hpp",
             "    if (node->deadline <= now) {\n",
             "    if (tick_of(node->deadline) <= tick_of(now)) {\n", ["time/timer_wheel.cpp"]),
]


def is_model(tests):
    return tests[0].startswith("model/")


def run(command, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **kwargs)


def look_at(process):
    """How many seconds its threads have run so far, and whether all of them sleep; (None, False)
    where the system does not tell."""
    seconds, asleep = None, True
    for stat in pathlib.Path(f"/proc/{process.pid}/task").glob("*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        asleep = asleep and fields[0] in "SI"  # else it runs, or waits for a processor or a disk
        ticks = int(fields[11]) + int(fields[12])
        seconds = (seconds or 0) + ticks / os.sysconf("SC_CLK_TCK")
    return seconds, asleep and seconds is not None


def run_to_end(command, patience):
    """The exit code, or None if it hangs and had to be stopped; and how many seconds it has run."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        begin = awake = time.monotonic()
        ran_when_awake = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid != 0:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, usage.ru_utime + usage.ru_stime
            now = time.monotonic()
            ran, asleep = look_at(process)
            # Who wakes up now and then to look at a clock is asleep all the same.
            if not asleep or ran > ran_when_awake + REST / 300:
                awake, ran_when_awake = now, ran
            if (now - begin if ran is None else ran) > patience or now - awake > REST:
                process.kill()
                process.wait()
                return None, patience if ran is None else ran
            time.sleep(0.2)


class Bench:
    """Compiles and runs tests in a folder of its own."""

    def __init__(self, folder, mutations):
        self.folder = pathlib.Path(folder)
        self.main = self.compile("support/main")
        self.checker = []
        if any(is_model(m.tests) for m in mutations):
            self.checker = [self.compile(f"model/checker/{name}", MODEL_FLAGS)
                            for name in CHECKER_ALONE]

    def compile(self, source, flags=()):
        target = self.folder / (source.replace("/", "_") + ".o")
        done = run([COMPILER, *FLAGS, *flags, f"-I{ROOT}/include", "-c",
                    f"{ROOT}/tests/{source}.cpp", "-o", str(target)])
        if done.returncode != 0:
            sys.exit(done.stdout)
        return str(target)

    def try_tests(self, include, tests, program, filter, jitter, patience=600):
        """What the tests of one mutation come to, and for how many seconds they have run."""
        if is_model(tests):
            more, rest = CHECKER_INSIDE, [*MODEL_FLAGS, *self.checker]
        else:
            more = ["mutations/jittered_atomic.cpp"] if jitter else []
            rest = [*(JITTER_FLAGS if jitter else []), self.main]
        sources = [str(ROOT / "tests" / t) for t in (*tests, *more)]
        built = run([COMPILER, *FLAGS, f"-I{include}", *sources, *rest, "-o", str(program)])
        if built.returncode != 0:
            print(built.stdout[-2000:])
            return "does not compile", 0
        code, seconds = run_to_end([str(program), *filter.split()], patience)
        return "hangs" if code is None else "passes" if code == 0 else "fails", seconds

    def try_mutation(self, index, m, sound_seconds):
        include = self.folder / f"include{index}"
        shutil.copytree(ROOT / "include", include)
        path = include / "troupe" / m.file
        text = path.read_text()
        if text.count(m.old) != 1:
            return m, "the line to break is not there, or not there once"
        path.write_text(text.replace(m.old, m.new))
        program = self.folder / f"test{index}"
        verdict, _ = self.try_tests(include, m.tests, program, m.filter, m.jitter,
                                    PATIENCE + SLOWER * sound_seconds)
        shutil.rmtree(include)
        program.unlink(missing_ok=True)
        return m, verdict


def main():
    parts = sys.argv[1:] or [""]
    chosen = [m for m in MUTATIONS if any(part in m.name for part in parts)]
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        bench = Bench(folder, chosen)
        sets = sorted({m.how() for m in chosen})
        sound = pool.map(lambda s: bench.try_tests(ROOT / "include", s[1][0],
                                                   pathlib.Path(folder) / f"sound{s[0]}", *s[1][1:]),
                         enumerate(sets))
        seconds = {}
        for how, (verdict, taken) in zip(sets, sound):
            if verdict != "passes":
                sys.exit(f"without any mutation, {' '.join(how[0])} {verdict}")
            seconds[how] = taken
        for m, verdict in pool.map(lambda x: bench.try_mutation(*x, seconds[x[1].how()]),
                                   enumerate(chosen)):
            is_noticed = verdict in ("fails", "hangs")
            said = "noticed" if is_noticed else f"NOT NOTICED, {verdict}"
            hung = ", it hangs" if verdict == "hangs" else ""
            print(f"{said}: {m.name} ({m.file}){hung}", flush=True)
            if not is_noticed:
                unnoticed += 1
    print(f"{len(chosen)} mutations, {unnoticed} not noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
