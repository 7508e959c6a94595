# SPDX-License-Identifier: MIT
"""Chromium driven over WebDriver (W3C), with nothing but the standard library.

Everything that is started here is stopped by its process id; everything that is written goes into
one temporary folder.
"""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import time

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard gives elements
ENTER = "\ue007"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Failed(Exception):
    pass


class Program:
    """A process group of its own, so that it ends with all that it has started."""

    def __init__(self, command, log, **options):
        self.command = command
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True, **options)

    def wait_for_port(self, port, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with socket.socket() as s:
                s.settimeout(1)
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        with open(self.log, "rb") as said:
            raise Failed(f"{self.command[0]} does not listen: {said.read()[-2000:]!r}")

    def stop(self, seconds=20):
        """Asks it to end, and gives its exit code; who does not heed that is killed."""
        code = None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # what it has left behind
        except ProcessLookupError:
            pass
        if code is None:
            self.process.wait()
        return code


class Driver:
    """chromedriver, at a free port of this machine."""

    def __init__(self, program, folder):
        self.folder = folder
        self.port = free_port()
        surroundings = dict(os.environ, HOME=folder, TMPDIR=folder, XDG_CONFIG_HOME=folder,
                            XDG_CACHE_HOME=folder)
        self.program = Program([program, f"--port={self.port}"], os.path.join(folder, "driver.log"),
                               env=surroundings, cwd=folder)
        self.browsers = []
        self.program.wait_for_port(self.port)

    def stop(self):
        for b in self.browsers:
            try:
                b.ask("DELETE", "")
            except (Failed, OSError, http.client.HTTPException):
                pass  # it is killed then
        self.program.stop()


class Browser:
    """One Chromium with a profile of its own."""

    def __init__(self, driver, chromium, size=(1000, 700), dark=False):
        self.port = driver.port
        self.path = "/session"
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--no-first-run", "--disable-background-networking", "--disable-extensions",
                     "--disable-breakpad",
                     f"--window-size={size[0]},{size[1]}"]
        if dark:
            arguments.append("--force-dark-mode")
        made = self.ask("POST", "", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": chromium, "args": arguments}}}})
        self.path += "/" + made["sessionId"]
        driver.browsers.append(self)

    def ask(self, method, path, what=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            body = None if method != "POST" else json.dumps(what or {})
            connection.request(method, self.path + path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        finally:
            connection.close()
        if answer.status != 200:
            raise Failed(f"{method} {path}: {value.get('error')}: {value.get('message')}")
        return value

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def reload(self):
        self.ask("POST", "/refresh")

    def run(self, script, *arguments):
        """What a function with this body returns, in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, css):
        return self.ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def write(self, css, text):
        """Types into a field, behind what is in it."""
        self.ask("POST", f"/element/{self.find(css)}/value", {"text": text})

    def clear(self, css):
        self.ask("POST", f"/element/{self.find(css)}/clear")

    def click(self, css):
        self.ask("POST", f"/element/{self.find(css)}/click")

    def resize(self, width, height):
        self.ask("POST", "/window/rect", {"width": width, "height": height})

    def command(self, name, parameters):
        """One of Chromium's own."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def picture(self, file):
        with open(file, "wb") as out:
            out.write(base64.b64decode(self.ask("GET", "/screenshot")))

    def errors(self):
        """What its console has complained of since the last time."""
        said = self.ask("POST", "/se/log", {"type": "browser"})
        return [s["message"] for s in said if s["level"] in ("SEVERE", "WARNING")]


def eventually(what, holds, seconds=20):
    """Waits until `holds()` is true; else fails and says what was hoped for."""
    end = time.monotonic() + seconds
    while True:
        seen = holds()
        if seen:
            return seen
        if time.monotonic() > end:
            raise Failed(f"in vain: {what}")
        time.sleep(0.05)
