"""Logs in, goes on and logs out as a browser does: follows redirects, keeps cookies, fills in the provider's form.

    single_sign_on.py GATEWAY APPLICATION

GATEWAY is a URL without a path; the application behind it listens at APPLICATION, host:port, and this program is that, too. It prints each
request and the response's status.
"""

import html.parser
import http.cookiejar
import http.server
import sys
import threading
import urllib.parse
import urllib.request

SESSION = ("AccessToken-", "IdToken-", "RefreshToken-", "OauthHMAC-", "OauthExpires-", "OauthNonce-")


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = []

    def do_GET(self):
        self.seen.append(self.headers)
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


class Form(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(page.read().decode())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.action = attributes["action"]
        elif tag == "input":
            self.fields[attributes.get("name")] = attributes.get("value", "")


class Printed(urllib.request.BaseHandler):
    handler_order = 100
    urls = []

    def http_response(self, request, response):
        url = urllib.parse.urlsplit(request.full_url)
        self.urls.append(request.full_url)
        print(f"{response.status} {request.get_method():4} {url.scheme}://{url.netloc}{url.path}")
        return response


def session_cookies(jar):
    return {cookie.name: cookie.value for cookie in jar if cookie.name.startswith(SESSION)}


def main(gateway, application):
    host, port = application.rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    # Browsers take localhost for secure without TLS.
    jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https")))
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), Printed())

    print("# login")
    page = browser.open(f"{gateway}/cart?item=1")
    authorize = next(url for url in Printed.urls if "code_challenge=" in url)
    assert "code_challenge_method=S256" in authorize, authorize
    form = Form(page)
    form.fields |= {"username": "test-user@localhost", "password": "verysecure"}
    action = urllib.parse.urljoin(page.url, form.action)
    page = browser.open(action, urllib.parse.urlencode(form.fields).encode())
    assert page.url == f"{gateway}/cart?item=1", page.url
    before = session_cookies(jar)
    assert len(before) == 5, sorted(before)
    seen = Application.seen[-1]
    assert seen["x-id-token"].count(".") == 2 and seen["authorization"].startswith("Bearer "), seen.items()
    assert not any(name in seen.get("cookie", "") for name in SESSION), seen["cookie"]

    print("# the session goes on: the browser has dropped what is too old")
    for cookie in list(jar):
        if cookie.name.startswith(("AccessToken-", "OauthHMAC-", "OauthExpires-")):
            jar.clear(cookie.domain, cookie.path, cookie.name)
    page = browser.open(f"{gateway}/")
    assert page.url == f"{gateway}/", page.url
    after = session_cookies(jar)
    assert before.keys() == after.keys(), sorted(after)
    changed = sorted(name.split("-")[0] for name in after if after[name] != before[name])
    assert "RefreshToken" in changed and "AccessToken" in changed, changed
    page = browser.open(f"{gateway}/")
    assert session_cookies(jar) == after

    print("# logout, here and at the provider; then a new login begins")
    page = browser.open(f"{gateway}/logout")
    assert any("/end_session" in url for url in Printed.urls)
    assert f"{gateway}/" in Printed.urls[Printed.urls.index(f"{gateway}/logout") :], Printed.urls
    assert Form(page).action and not page.url.startswith(gateway), page.url
    assert all(name.startswith("OauthNonce-") for name in session_cookies(jar)), sorted(session_cookies(jar))
    print("ok")


main(*sys.argv[1:])
