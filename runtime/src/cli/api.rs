//! The client of the HTTP listeners: finds the server and its token, sends requests, and makes errors readable.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::{Agent, AsSendBody, Body};

use crate::config::{ConfigFile, DEFAULT_DATA};

const TOKEN_FILE: &str = "admin.token";
/// The empty body of a POST, sent with its length, where `()` would be sent as chunks.
pub const NO_BYTES: &[u8] = &[];
const PROBLEM: &str = "application/problem+json";

/// The options that select a server and authenticate to it.
#[derive(clap::Args)]
pub struct Connection {
    /// The server's admin listener.
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_SERVER",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8788",
        help_heading = "Server"
    )]
    server: String,
    /// The admin token [default: the one in the data directory of --data or of the enclosing project].
    #[arg(long, global = true, env = "HOLDFAST_TOKEN", hide_env_values = true, help_heading = "Server")]
    token: Option<String>,
    /// The data directory of a server on this machine, to read its token from.
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_DATA",
        hide_env_values = true,
        value_name = "DIR",
        help_heading = "Server"
    )]
    data: Option<PathBuf>,
}

/// The admin API of one server.
pub struct Api {
    agent: Agent,
    base: String,
    token: Token,
}

struct Token {
    text: String,
    /// The source of the token, for the message about a rejected token.
    source: String,
}

impl Api {
    /// Finds the token; sends nothing yet. Without `--token` and `--data`, assumes that a server on this machine is the
    /// one that `holdfast dev` or `holdfast serve` runs in `project`, or in the working directory or one above.
    pub fn new(connection: &Connection, project: Option<&Path>) -> anyhow::Result<Self> {
        let base = base_url(&connection.server)?;
        let token = match (&connection.token, &connection.data) {
            (Some(token), _) => Token { text: token.trim().into(), source: "--token or HOLDFAST_TOKEN".into() },
            (None, Some(data)) => read_token(data)?,
            (None, None) => nearby_token(&base, project)?,
        };
        Ok(Self { agent: agent(), base, token })
    }

    /// Sends GET and parses the JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        json(self.send(Method::GET, path, ())?)
    }

    /// Sends GET and returns the answer as a stream, until the server ends it.
    pub fn stream(&self, path: &str) -> anyhow::Result<BufReader<impl Read + 'static>> {
        Ok(BufReader::new(self.send(Method::GET, path, ())?.into_body().into_reader()))
    }

    /// Sends PUT with bytes and parses the JSON answer.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> anyhow::Result<T> {
        json(self.send(Method::PUT, path, body)?)
    }

    /// Sends POST without a body and parses the JSON answer.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        json(self.send(Method::POST, path, NO_BYTES)?)
    }

    /// Sends POST with JSON and parses the JSON answer.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        json(self.send(Method::POST, path, serde_json::to_vec(body)?)?)
    }

    /// Sends PUT with a file.
    pub fn upload(&self, path: &str, file: &File) -> anyhow::Result<()> {
        self.send(Method::PUT, path, file).map(drop)
    }

    /// Sends DELETE.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, ()).map(drop)
    }

    fn send(&self, method: Method, path: &str, body: impl AsSendBody) -> anyhow::Result<Response<Body>> {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.text));
        if method == Method::PUT {
            // The server can refuse a component before it is uploaded.
            request = request.header(header::EXPECT, "100-continue");
        }
        let request = request.body(body).context("the token is malformed; a token is one line of visible ASCII")?;
        let response = send(&self.agent, &self.base, "--server", request)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(anyhow!(
                "{:#}\n  help: the token is from {}; pass --token, or --data with the server's data directory",
                problem(response),
                self.token.source
            )),
            _ => Err(problem(response)),
        }
    }
}

/// Creates an HTTP client that returns every response as it is, redirects and errors included.
pub fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Validates the URL of a listener: plain HTTP, a host, nothing after it.
pub fn base_url(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL; write http://HOST:PORT"))?;
    match uri.scheme_str() {
        Some("http") if uri.path() == "/" && uri.query().is_none() => Ok(url.trim_end_matches('/').into()),
        Some("https") => bail!(
            "`{url}`: holdfast does not speak TLS; reach the server through a tunnel (`ssh -L 8788:127.0.0.1:8788 HOST`) \
             and name it as http://127.0.0.1:8788"
        ),
        _ => bail!("`{url}` is not the URL of a server; write http://HOST:PORT"),
    }
}

/// Sends a request. The error says whether a server is reachable; `flag` is the flag that selects another.
pub fn send(
    agent: &Agent,
    base: &str,
    flag: &str,
    request: Request<impl AsSendBody>,
) -> anyhow::Result<Response<Body>> {
    agent.run(request).map_err(|error| match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            anyhow!("no server at {base}; start one with `holdfast serve` or pass {flag}")
        }
        error => anyhow!("no answer from {base} ({error}); check {flag} and the server's log"),
    })
}

fn json<T: DeserializeOwned>(response: Response<Body>) -> anyhow::Result<T> {
    // Our own server: its answers are bounded by its page size and its log history, not by a limit here.
    let mut text = Vec::new();
    response
        .into_body()
        .into_reader()
        .read_to_end(&mut text)
        .context("the server's answer is incomplete; try again")?;
    serde_json::from_slice(&text)
        .context("the server's answer is not the admin API's; does --server name the admin listener?")
}

/// A server's problem document (RFC 9457), and the next step if it is known.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    code: String,
    /// The value of a refusal.
    error: Option<serde_json::Value>,
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        match &self.error {
            Some(error) => write!(f, ": {error}")?,
            None if self.detail.is_empty() => {}
            None => write!(f, ": {}", self.detail)?,
        }
        write!(f, " ({})", self.code)?;
        match next_step(&self.code) {
            Some(step) => write!(f, "\n  help: {step}"),
            None => Ok(()),
        }
    }
}

fn next_step(code: &str) -> Option<&'static str> {
    Some(match code {
        "unknown-class" => "`holdfast classes` lists what is deployed; `holdfast deploy` adds to it",
        "unknown-object" => {
            "`holdfast objects list CLASS` lists what there is; an object exists once it has stored something"
        }
        "class-exists" => "`holdfast classes` lists the names that are taken",
        "class-outdated" => {
            "`holdfast update-sdk PROJECT` brings a project's SDK up to date; `holdfast deploy PROJECT` builds and deploys it"
        }
        "class-has-objects" => "`holdfast classes delete CLASS --objects` deletes them and all they stored",
        "core-module" | "not-a-component" => {
            "`holdfast build` makes components; other tools need the target wasm32-wasip2"
        }
        "overloaded" => "try again later",
        _ => return None,
    })
}

/// Converts an error response into an error.
pub fn problem(response: Response<Body>) -> anyhow::Error {
    let status = response.status();
    if !is_problem(&response) {
        return anyhow!("the server answered {status}, which is not its API's; does the URL name the right listener?");
    }
    match json::<Problem>(response) {
        Ok(problem) => problem.into(),
        Err(error) => error,
    }
}

/// Reports whether the response is an error of the host itself.
pub fn is_problem(response: &Response<Body>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with(PROBLEM))
}

fn read_token(data: &Path) -> anyhow::Result<Token> {
    let file = data.join(TOKEN_FILE);
    let token = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "cannot read the admin token from {}; pass --token, or --data with the server's data directory",
            file.display()
        )
    })?;
    Ok(Token { text: token.trim().into(), source: file.display().to_string() })
}

fn nearby_token(base: &str, project: Option<&Path>) -> anyhow::Result<Token> {
    // A token that was found implicitly is sent only to a server on this machine, never to another one.
    if !is_loopback(base) {
        bail!("{base} is not on this machine; pass its admin token with --token or HOLDFAST_TOKEN");
    }
    let here = std::env::current_dir().context("there is no working directory; pass --token or --data")?;
    let mut places = project.into_iter().chain(here.ancestors());
    let data = places.find_map(|place| {
        let data = data_of(place);
        data.join(TOKEN_FILE).is_file().then_some(data)
    });
    match data {
        Some(data) => read_token(&data),
        None => bail!("no admin token found; pass --token, or --data with the server's data directory"),
    }
}

/// Returns the data directory of a server that was started in this directory without `--data`.
fn data_of(directory: &Path) -> PathBuf {
    let default = directory.join(DEFAULT_DATA);
    // The commands that need the file report that it cannot be read.
    ConfigFile::of_directory(directory).map_or(default.clone(), |file| file.server(&default).data)
}

fn is_loopback(base: &str) -> bool {
    let uri: Option<Uri> = base.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_listeners_are_plain_http() {
        assert_eq!(base_url("http://127.0.0.1:8788/").unwrap(), "http://127.0.0.1:8788");
        assert_eq!(base_url("http://box").unwrap(), "http://box");
        assert!(base_url("https://box").unwrap_err().to_string().contains("does not speak TLS"));
        for bad in ["127.0.0.1:8788", "box", "http://box/v1", "ftp://box", "", "http://a b"] {
            assert!(format!("{:#}", base_url(bad).unwrap_err()).contains("http://HOST:PORT"), "{bad}");
        }
    }

    #[test]
    fn only_this_machine_gets_a_token_found_nearby() {
        for (base, loopback) in [
            ("http://127.0.0.1:8788", true),
            ("http://localhost", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1:8788", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(base), loopback, "{base}");
        }
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join(DEFAULT_DATA)).unwrap();
        std::fs::write(project.path().join(DEFAULT_DATA).join(TOKEN_FILE), "secret\n").unwrap();
        assert_eq!(nearby_token("http://127.0.0.1:1", Some(project.path())).unwrap().text, "secret");
        assert!(nearby_token("http://10.0.0.1:1", Some(project.path())).is_err());

        std::fs::write(project.path().join("holdfast.toml"), "[server]\ndata = 'state'").unwrap();
        std::fs::rename(project.path().join(DEFAULT_DATA), project.path().join("state")).unwrap();
        assert_eq!(nearby_token("http://127.0.0.1:1", Some(project.path())).unwrap().text, "secret");
    }

    #[test]
    fn problems_say_what_to_do() {
        let text = r#"{"type":"urn:holdfast:error:unknown-class","title":"Unknown class","status":404,
                       "detail":"no class `x`","code":"unknown-class","retryable":false}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        let shown = problem.to_string();
        assert!(
            shown.starts_with("Unknown class: no class `x` (unknown-class)\n  help: `holdfast classes`"),
            "{shown}"
        );
    }
}
