"""What may be asked for, and where a redirect may lead; the rest is tested by downloads."""

from __future__ import annotations

import io
from urllib.request import Request

import pytest

from posecli.errors import ConfigError, WeightsError
from posecli.media import web


@pytest.mark.parametrize("url", ["http://host/w", "https://host:8443/a/b?c=d", "http://[::1]/w", "http://host/%C3%A9"])
def test_addresses_in_the_web_are_taken(url):
    web.check_address(url)


@pytest.mark.parametrize("url", ["", "host/w", "file:///w", "http://", "https://host:port/w", "http://host/a b"])
def test_other_addresses_are_refused(url):
    with pytest.raises(ConfigError, match="wanted an http or https address"):
        web.check_address(url)


def test_redirects_from_https_down_to_http_are_refused():
    with pytest.raises(WeightsError, match="redirects to http://host/w, which is refused"):
        web._WebOnly().redirect_request(Request("https://host/w"), io.BytesIO(), 302, "", {}, "http://host/w")
