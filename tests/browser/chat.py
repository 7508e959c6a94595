# SPDX-License-Identifier: MIT
"""examples/chat in real browsers: people talk, whisper, reload, and outlive a restart of the server.

chat.py <example_chat> <chromium> <chromedriver> [folder for pictures]
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from webdriver import Browser, Driver, ENTER, Failed, Program, eventually, free_port


class Chat:
    """The real program, at ports that stay the same."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.port, self.inner = free_port(), free_port()
        self.start()

    def start(self):
        self.runs = Program([self.program, str(self.port), str(self.inner)],
                            os.path.join(self.folder, "chat.log"), cwd=self.folder)
        self.runs.wait_for_port(self.port)
        self.runs.wait_for_port(self.inner)

    def stop(self):
        code = self.runs.stop()
        if code != 0:
            raise Failed(f"the server has ended with {code}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def get(self, path, port=None, host="127.0.0.1", **fields):
        connection = http.client.HTTPConnection(host, port or self.port, timeout=20)
        try:
            connection.request("GET", path, headers=fields)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


class Person:
    """Somebody at a page of the chat."""

    def __init__(self, driver, chromium, chat, name, room):
        self.name, self.browser = name, Browser(driver, chromium)
        self.browser.open(chat.url + "/")
        self.browser.write("#name", name)
        self.browser.clear("#where")
        self.browser.write("#where", room)
        self.browser.click("#enter button")
        self.comes_in()

    def comes_in(self):
        eventually(f"{self.name} is connected",
                   lambda: self.browser.run("return document.querySelector('#state').className") == "open"
                   and self.browser.run("return document.querySelector('#state').textContent") == self.name)

    def say(self, line):
        self.browser.write("#line", line + ENTER)

    def lines(self):
        return self.browser.run(
            "return [...document.querySelectorAll('#log p')].map(p => p.textContent.trim())")

    def hears(self, line, seconds=20):
        eventually(f"{self.name} hears '{line}'", lambda: line in self.lines(), seconds)

    def has_not_heard(self, text):
        found = [line for line in self.lines() if text in line]
        if found:
            raise Failed(f"{self.name} was not to hear {found}")

    def list(self, which):
        """Of the lines beside the talk: pairs."""
        return self.browser.run(
            "return [...document.querySelectorAll(arguments[0] + ' li')]"
            ".map(li => [li.firstChild.textContent, li.lastChild.textContent])", "#" + which)

    def sees(self, which, expected):
        try:
            eventually(f"{self.name} sees {expected}", lambda: self.list(which) == expected)
        except Failed:
            raise Failed(f"{self.name} sees {self.list(which)} where {expected} was expected")


def scene(text):
    print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)


def play(chat, driver, chromium, pictures):
    scene("two people see each other's lines, and who is there")
    ann = Person(driver, chromium, chat, "ann", "tea")
    ben = Person(driver, chromium, chat, "ben", "tea")
    ann.say("good morning <b>&amp;")
    for one in (ann, ben):
        one.hears("ann good morning <b>&amp;")
    ben.say("hello")
    for one in (ann, ben):
        one.hears("ben hello")
        one.sees("people", [["ann", "shard 1"], ["ben", "shard 1"]])
        one.sees("shards", [["shard 1", "2 of 2"]])

    scene("a third, who is called 'all', is in another shard, hears /a and not /g")
    third = Person(driver, chromium, chat, "all", "tea")
    for one in (ann, ben, third):
        one.sees("people", [["all", "shard 2"], ["ann", "shard 1"], ["ben", "shard 1"]])
        one.sees("shards", [["shard 1", "2 of 2"], ["shard 2", "1 of 2"]])
    ann.say("/g among us")
    ann.say("/a to everybody")
    for one in (ann, ben):
        one.hears("ann among us in this shard")
    third.hears("ann to everybody")  # is sent after what it must not hear
    third.has_not_heard("among us")

    scene("a whisper reaches whom it is for, and nobody else")
    ben.say("/w all a secret")
    third.hears("ben a secret to you")
    ben.hears("ben a secret to all")
    third.say("/w ann another one")
    ann.hears("all another one to you")
    third.say("/w nobody at all")
    third.hears("There is no nobody here.")
    third.say("that was it")
    for one in (ann, ben, third):
        one.hears("all that was it")
    ann.has_not_heard("a secret")
    ben.has_not_heard("another one")

    scene("who reloads the page is back under the same name")
    ben.browser.reload()
    ben.comes_in()
    ben.sees("people", [["all", "shard 2"], ["ann", "shard 1"], ["ben", "shard 1"]])
    ann.say("/w ben are you back?")
    ben.hears("ann are you back? to you")
    if pictures:
        take_pictures(ann, pictures)

    scene("many who come at once are listed by few looks")
    took, lists = ann.browser.run("""
        window.heard = 0; window.began = performance.now(); window.crowd = [];
        const before = hear.people;
        hear.people = m => { ++window.heard; before(m); };
        for (let i = 0; i < 20; ++i) {
          window.crowd.push(new WebSocket(`ws://${location.host}/socket/tea?name=guest${i}`));
        }
        return [0, 0];"""), None
    eventually("all 23 are listed", lambda: len(ann.list("people")) == 23)
    took, lists = ann.browser.run("return [performance.now() - window.began, window.heard]")
    if lists > took / 100 + 2:
        raise Failed(f"{lists} lists of people came in {took:.0f} ms")
    ann.browser.run("for (const s of window.crowd) s.close(); window.crowd = []")
    eventually("three are listed", lambda: len(ann.list("people")) == 3)

    scene("figures are on a port of their own; strangers are turned away")
    status, text = chat.get("/metrics", chat.inner)
    if status != 200 or not re.search(r"^troupe_\w+ \d", text, re.M):
        raise Failed(f"/metrics says {status} {text[:200]}")
    status, text = chat.get("/dump", chat.inner)
    if status != 200 or "room" not in text:
        raise Failed(f"/dump says {status} {text[:200]}")
    for path in ("/metrics", "/dump"):
        if chat.get(path)[0] != 404:
            raise Failed(f"{path} is to be had from outside")
    if sys.platform == "linux":
        try:
            chat.get("/metrics", chat.inner, host="127.0.0.2")
            raise Failed("the figures are to be had by another address than the one for them")
        except ConnectionRefusedError:
            pass
    for name in ("", "a%20b", "%ff", "x" * 21, "a%00b"):
        status, text = chat.get("/socket/tea?name=" + name)
        if status != 400:
            raise Failed(f"as a name, '{name}' gets {status} {text}")
    wish = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "http://example.org"}
    if chat.get("/socket/tea?name=eve", **wish)[0] != 403:
        raise Failed("a page from elsewhere may open a WebSocket")

    everybody = (ann, ben, third)
    for one in everybody:
        complaints = one.browser.errors()
        if complaints:
            raise Failed(f"the console of {one.name} says {complaints}")

    scene("the server goes, comes again, and so do all by themselves")
    chat.stop()
    for one in everybody:
        eventually(f"{one.name} notices", lambda: one.browser.run(
            "return document.querySelector('#state').className") == "")
    time.sleep(1)  # so that some attempts fail
    chat.start()
    for one in everybody:
        one.comes_in()
    for one in everybody:
        eventually(f"{one.name} sees three people", lambda: sorted(
            name for name, shard in one.list("people")) == ["all", "ann", "ben"])
    ben.say("here we are again")
    for one in everybody:
        one.hears("ben here we are again")
    refused = re.compile(r"ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE")
    for one in everybody:
        complaints = [c for c in one.browser.errors() if not refused.search(c)]
        if complaints:
            raise Failed(f"the console of {one.name} says {complaints}")


def take_pictures(who, folder):
    os.makedirs(folder, exist_ok=True)
    for mode in ("light", "dark"):
        who.browser.command("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": mode}]})
        for shape, width in (("wide", 1000), ("narrow", 390)):
            who.browser.command("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False})
            who.browser.picture(os.path.join(folder, f"{shape}_{mode}.png"))
    who.browser.command("Emulation.clearDeviceMetricsOverride", {})


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped then, too
    program, chromium, driver_program = (os.path.realpath(p) for p in sys.argv[1:4])
    pictures = sys.argv[4] if len(sys.argv) > 4 else None
    # Chromium goes on writing for a moment when it is told to end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        chat = driver = None
        try:
            chat = Chat(program, folder)
            driver = Driver(driver_program, folder)
            play(chat, driver, chromium, pictures)
            scene("done")
            code = 0
        except (Failed, OSError, http.client.HTTPException, subprocess.SubprocessError):
            traceback.print_exc()
            for name in ("chat.log", "driver.log"):
                with open(os.path.join(folder, name), "rb") as said:
                    print(f"--- {name}\n{said.read()[-3000:].decode(errors='replace')}")
            code = 1
        finally:
            if driver:
                driver.stop()
            if chat:
                chat.runs.stop()
    return code


begin = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
