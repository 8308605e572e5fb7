#!/bin/sh
# Tests the page in a headless browser (tests/test_page.py says what is checked). It is skipped,
# with the reason, where there is no page (no compiler for WebAssembly), no Chromium, or no Python.
cd "$(dirname "$0")/.." || exit 1
skip() {
  echo "page: skipped, $*"
  echo "page: 0 passed, 0 failed"
  exit 0
}
command -v python3 > /dev/null 2>&1 || skip "no python3 to drive a browser with"
[ -r build/page.html ] || skip "build/page.html is not built (make page)"
for browser in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$browser" > /dev/null 2>&1 && exec python3 tests/test_page.py "$@"
done
skip "no chromium"
