//! The host names that requests may name, and the web pages that may send them.
//!
//! A browser lets any web page send requests to this machine. Two headers distinguish such requests: `Host` is the name
//! that the page was loaded from if that name resolves to this address (DNS rebinding), and `Origin` names the page in
//! every request that could read or change something from another site. So a listener on a loopback address answers
//! loopback names only, to loopback pages only, unless configured otherwise. A listener that other machines can reach
//! answers any name, because it cannot know its names.
//!
//! Invariants: requests without `Origin` are accepted (they come from no page, or from one that can neither read the
//! answer nor change anything that a plain link could not); a page may always call the host that it was loaded from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Uri, Version};

use super::problem::{BAD_REQUEST, Problem, UNKNOWN_HOST, UNKNOWN_ORIGIN};

/// The operator's settings of hosts and origins (`[server] hosts`, `origins`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    hosts: Option<Vec<String>>,
    origins: Option<Vec<String>>,
}

/// The hosts and origins that one listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    hosts: Names,
    origins: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    Any,
    /// The names of this machine, and these.
    Loopback(Vec<String>),
}

impl HostSettings {
    /// Parses the operator's settings. None means the default.
    pub fn parse(hosts: Option<Vec<String>>, origins: Option<Vec<String>>) -> Result<Self, String> {
        let lower =
            |list: Option<Vec<String>>| list.map(|list| list.iter().map(|name| name.to_ascii_lowercase()).collect());
        let (hosts, origins): (Option<Vec<String>>, Option<Vec<String>>) = (lower(hosts), lower(origins));
        for host in hosts.iter().flatten() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            if host != "*" && (name.is_empty() || port_of(name).is_some() || !name.bytes().all(is_of_host)) {
                return Err(format!(
                    "hosts: `{host}` is not a host name; write example.com, *.example.com or *, without a port"
                ));
            }
        }
        for origin in origins.iter().flatten() {
            let authority = origin.split_once("://").map(|(_scheme, authority)| authority);
            let valid = authority.is_some_and(|authority| !authority.is_empty() && authority.bytes().all(is_of_host));
            if !valid && !matches!(&**origin, "*" | "null") {
                return Err(format!("origins: `{origin}` is not an origin; write https://example.com or *"));
            }
        }
        Ok(Self { hosts, origins })
    }

    /// Returns what a listener at this address accepts.
    pub fn of_listener(&self, address: IpAddr) -> Hosts {
        let hosts = match &self.hosts {
            Some(hosts) if hosts.iter().any(|host| host == "*") => Names::Any,
            Some(hosts) => Names::Loopback(hosts.clone()),
            None if address.is_loopback() => Names::Loopback(Vec::new()),
            None => Names::Any,
        };
        Hosts { hosts, origins: self.origins.clone() }
    }
}

impl Hosts {
    /// Refuses a request that names another host, comes from an origin that may not call, or does not name exactly one
    /// host.
    pub fn admit(&self, parts: &Parts) -> Result<(), Problem> {
        let host = host_of(parts)?;
        let known = match (&self.hosts, host) {
            (Names::Any, _) => true,
            // Only HTTP/1.0 may omit it, which no browser uses.
            (Names::Loopback(_), None) => true,
            (Names::Loopback(others), Some(host)) => is_loopback_name(name_of(host)) || matches(others, name_of(host)),
        };
        if !known {
            let detail = "this listener does not answer for the host of the request; \
                          add it to `hosts` in the [server] section of holdfast.toml";
            return Err(Problem::new(&UNKNOWN_HOST, detail));
        }
        if parts.headers.contains_key(ORIGIN) { self.admit_origin(&parts.headers, host) } else { Ok(()) }
    }

    fn admit_origin(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
        let may_call = |origin: &str| {
            let authority = origin.split_once("://").map(|(_scheme, authority)| authority);
            if authority.is_some() && authority == host {
                return true;
            }
            match (&self.origins, &self.hosts, authority) {
                (Some(origins), _, _) => {
                    origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
                }
                (None, Names::Any, _) => true,
                (None, Names::Loopback(others), Some(authority)) => {
                    is_loopback_name(name_of(authority)) || matches(others, name_of(authority))
                }
                (None, Names::Loopback(_), None) => false,
            }
        };
        if headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(may_call)) {
            return Ok(());
        }
        let detail = "pages of this origin may not call; add it to `origins` in the [server] section of holdfast.toml";
        Err(Problem::new(&UNKNOWN_ORIGIN, detail))
    }
}

/// Returns the host that a request names; none in HTTP/1.0 without one. The authority of the target takes precedence
/// over the header (RFC 9112 §3.2.2).
fn host_of(parts: &Parts) -> Result<Option<&str>, Problem> {
    let bad = |what: &'static str| Problem::new(&BAD_REQUEST, what);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("the request has more than one `host` header"));
    }
    let header = match header {
        Some(value) => {
            let text = value.to_str().ok().filter(|text| text.bytes().all(is_of_host));
            Some(text.ok_or_else(|| bad("the `host` header is not a host"))?)
        }
        None => None,
    };
    match (of_uri(&parts.uri), header) {
        (Some(target), Some(header)) if parts.version >= Version::HTTP_2 && target != header => {
            Err(bad("`:authority` and the `host` header differ"))
        }
        (Some(target), _) => Ok(Some(target)),
        (None, None) if parts.version >= Version::HTTP_11 => Err(bad("the request has no `host` header")),
        (None, header) => Ok(header),
    }
}

/// Returns the authority of a URI without user information.
fn of_uri(uri: &Uri) -> Option<&str> {
    uri.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default())
}

/// Reports whether a byte may be in `host[:port]` (RFC 3986 §3.2.2), percent-encoding and sub-delimiters excluded.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'[' | b']' | b':')
}

/// Returns the port of `host:port`.
fn port_of(host: &str) -> Option<&str> {
    let after_address = host.rfind(']').map_or(0, |end| end + 1);
    host[after_address..].rsplit_once(':').map(|(_host, port)| port)
}

/// Returns the host of `host:port`, without the final dot.
fn name_of(host: &str) -> &str {
    let name = port_of(host).map_or(host, |port| &host[..host.len() - port.len() - 1]);
    name.strip_suffix('.').unwrap_or(name)
}

fn is_loopback_name(name: &str) -> bool {
    // RFC 6761 §6.3: names below localhost are loopback, too.
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|name| name.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback()))
}

fn matches(allowed: &[String], name: &str) -> bool {
    allowed.iter().any(|allowed| match allowed.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix),
        None => name.eq_ignore_ascii_case(allowed),
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn settings(hosts: &[&str], origins: Option<&[&str]>) -> HostSettings {
        let owned = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let hosts = (!hosts.is_empty()).then(|| owned(hosts));
        HostSettings::parse(hosts, origins.map(owned)).unwrap()
    }

    /// Returns the code that a request is refused with; `ok` if it is accepted.
    fn asked(hosts: &Hosts, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().uri("/c/alice");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        hosts.admit(&request.body(()).unwrap().into_parts().0).map_or_else(|problem| problem.code(), |()| "ok")
    }

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    #[test]
    fn a_loopback_listener_answers_loopback_names() {
        let hosts = settings(&[], None).of_listener(LOOPBACK);
        for good in [
            "localhost",
            "LocalHost:8787",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "a.localhost",
            "localhost.",
        ] {
            assert_eq!(asked(&hosts, &[("host", good)]), "ok", "{good}");
        }
        for bad in
            ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1", "[::2]", "", "0.0.0.0"]
        {
            assert_eq!(asked(&hosts, &[("host", bad)]), "unknown-host", "{bad}");
        }
        let page = |origin| asked(&hosts, &[("host", "localhost:8787"), ("origin", origin)]);
        for good in ["http://localhost:8787", "http://127.0.0.1:5173", "https://[::1]"] {
            assert_eq!(page(good), "ok", "{good}");
        }
        for bad in ["https://evil.example", "null", "", "http://localhost.evil.example"] {
            assert_eq!(page(bad), "unknown-origin", "{bad}");
        }
        let both = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "https://evil.example")];
        assert_eq!(asked(&hosts, &both), "unknown-origin");
    }

    #[test]
    fn other_listeners_answer_all_unless_they_are_told() {
        let any = settings(&[], None).of_listener(EVERYWHERE);
        assert_eq!(asked(&any, &[("host", "any.example"), ("origin", "https://other.example")]), "ok");
        let these = settings(&["Api.example.com", "*.example.org"], None).of_listener(EVERYWHERE);
        for (host, expected) in [
            ("api.example.com:443", "ok"),
            ("a.b.example.org", "ok"),
            ("127.0.0.1:8787", "ok"),
            ("example.org", "unknown-host"),
            ("www.api.example.com", "unknown-host"),
        ] {
            assert_eq!(asked(&these, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(asked(&these, &[("host", "api.example.com"), ("origin", "https://x.example.org")]), "ok");
        assert_eq!(
            asked(&these, &[("host", "api.example.com"), ("origin", "https://x.example.net")]),
            "unknown-origin"
        );
    }

    #[test]
    fn origins_can_be_named() {
        let hosts = settings(&["*"], Some(&["https://App.example.com"])).of_listener(LOOPBACK);
        let page = |origin| asked(&hosts, &[("host", "api.example.com"), ("origin", origin)]);
        assert_eq!(page("https://app.example.com"), "ok");
        assert_eq!(page("https://api.example.com"), "ok", "a page may call where it came from");
        assert_eq!(page("http://app.example.com"), "unknown-origin");
        assert_eq!(page("null"), "unknown-origin");
        let any = settings(&[], Some(&["*"])).of_listener(LOOPBACK);
        assert_eq!(asked(&any, &[("host", "localhost"), ("origin", "null")]), "ok");
    }

    #[test]
    fn a_request_has_one_host() {
        let any = settings(&["*"], None).of_listener(LOOPBACK);
        assert_eq!(asked(&any, &[]), "bad-request");
        assert_eq!(asked(&any, &[("host", "a"), ("host", "a")]), "bad-request");
        for bad in ["a b", "user@a", "a/b", "a,b", "a?"] {
            assert_eq!(asked(&any, &[("host", bad)]), "bad-request", "{bad}");
        }
        let parts = |version, uri: &str, host: Option<&str>| {
            let request = Request::builder().version(version).uri(uri);
            let request =
                host.map_or(Request::builder().version(version).uri(uri), |host| request.header("host", host));
            any.admit(&request.body(()).unwrap().into_parts().0).is_ok()
        };
        assert!(parts(Version::HTTP_10, "/", None));
        assert!(parts(Version::HTTP_2, "http://a/", None) && parts(Version::HTTP_2, "http://a/", Some("a")));
        assert!(!parts(Version::HTTP_2, "http://a/", Some("b")));
        assert!(parts(Version::HTTP_11, "http://a/", Some("b")), "the target goes before the header");
    }

    #[test]
    fn what_is_no_host_or_origin_is_an_error() {
        let parse = |hosts: &[&str], origins: &[&str]| {
            let owned = |list: &[&str]| Some(list.iter().map(|name| name.to_string()).collect());
            HostSettings::parse(owned(hosts), owned(origins))
        };
        for host in ["", "*.", "http://a", "a:80", "a/b", "*a*"] {
            assert!(parse(&[host], &[]).is_err(), "{host}");
        }
        assert!(parse(&["[::1]", "a.b", "*.a", "*"], &["*", "null", "https://a:8443"]).is_ok());
        for origin in ["a", "https://", "https://a/b"] {
            assert!(parse(&[], &[origin]).is_err(), "{origin}");
        }
    }
}
