"""Drives a headless browser for tests/test_page.py, with Python's standard library alone.

Chromium is spoken to over two pipes (its --remote-debugging-pipe: messages are JSON, each ends with
a zero byte), Firefox over a socket (Marionette: the length, a colon, JSON). Both give the same few
calls: open, js, wait, size, errors, close; Chromium also takes screenshots and types keys.
"""
import base64, json, os, select, shutil, socket, subprocess, tempfile, time

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIREFOX = ("firefox-esr", "firefox")


def find(names):
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    def wait(self, condition, seconds, step=0.05):
        """Waits until the expression is true and returns the seconds it took."""
        began = time.monotonic()
        while not self.js(condition):
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"not true after {seconds} s: {condition}")
            time.sleep(step)
        return time.monotonic() - began

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.profile, ignore_errors=True)


class Chromium(Browser):
    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="page-chromium-")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                 "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                 "--disable-background-networking", f"--user-data-dir={self.profile}",
                 "about:blank"]
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash" if shutil.which("bash") else "sh", "-c", command, "sh", program, *flags],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in), os.close(theirs_out)
        self.out, self.inp, self.rest, self.number = ours_out, ours_in, b"", 0
        self.session, self.messages = None, []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(domain + ".enable")

    def read(self, seconds=120):
        while b"\0" not in self.rest:
            if not select.select([self.inp], [], [], seconds)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self.inp, 1 << 20)
            if not piece:
                raise EOFError("the browser has ended")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.messages.append(answer)

    def errors(self):
        """What was complained about on the console so far."""
        self.js("0")
        out = []
        for m in self.messages:
            p = m.get("params", {})
            if m.get("method") == "Runtime.exceptionThrown":
                details = p["exceptionDetails"]
                out.append(details.get("exception", {}).get("description", details["text"]))
            if m.get("method") == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                out.append(p["entry"]["text"])
            if m.get("method") == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning"):
                out.append(str(p["args"]))
        return out

    def open(self, url):
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)

    def js(self, code):
        r = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", code))
        return r["result"].get("value")

    def size(self, width, height, mobile=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)

    def theme(self, name):
        self.send("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": name}])

    def key(self, name):
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
                "Escape": 27, " ": 32, "Tab": 9, "Home": 36, "End": 35}.get(name, 0)
        text = {"Enter": "\r", " ": " "}.get(name)
        press = dict(key=name, code=name, windowsVirtualKeyCode=code)
        self.send("Input.dispatchKeyEvent", type="keyDown", **press, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **press)

    def files(self, selector, paths):
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=paths, nodeId=node)

    def screenshot(self, path, whole=False):
        more = {}
        if whole:
            box = self.send("Page.getLayoutMetrics")["cssContentSize"]
            more = dict(captureBeyondViewport=True, clip=dict(x=0, y=0, width=box["width"],
                        height=box["height"], scale=1))
        data = self.send("Page.captureScreenshot", format="png", **more)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))


class Firefox(Browser):
    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="page-firefox-")
        with socket.socket() as s:  # a free port
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(os.path.join(self.profile, "user.js"), "w") as f:
            f.write(f'user_pref("marionette.port", {port});\n')
        self.process = subprocess.Popen(
            [program, "--headless", "--marionette", "--no-remote", "--profile", self.profile],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, MOZ_HEADLESS="1", HOME=self.profile))
        began = time.monotonic()
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), 5)
                break
            except OSError:
                if time.monotonic() - began > 30 or self.process.poll() is not None:
                    self.end()
                    raise RuntimeError("Firefox does not start")
                time.sleep(0.2)
        self.socket.settimeout(120)
        self.number = 0
        self.receive()
        self.send("WebDriver:NewSession", {})

    def receive(self):
        size = b""
        while not size.endswith(b":"):
            size += self.socket.recv(1)
        data = b""
        while len(data) < int(size[:-1]):
            data += self.socket.recv(int(size[:-1]) - len(data))
        return json.loads(data)

    def send(self, name, params):
        self.number += 1
        text = json.dumps([0, self.number, name, params])
        self.socket.sendall(f"{len(text)}:{text}".encode())
        _, _, error, result = self.receive()
        if error:
            raise RuntimeError(f"{name}: {error.get('message')}")
        return result

    def open(self, url):
        self.send("WebDriver:Navigate", {"url": "about:blank"})
        self.send("WebDriver:Navigate", {"url": url})

    def js(self, code):
        return self.send("WebDriver:ExecuteScript",
                         {"script": f"return eval({json.dumps(code)})", "args": []})["value"]

    def size(self, width, height):
        self.send("WebDriver:SetWindowRect", {"width": width, "height": height})
