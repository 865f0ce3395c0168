//! `holdfast invoke`: one request to one object, through the data listener.

use std::io::{self, IsTerminal, Read, Write};

use anyhow::{Context, bail};
use ureq::Body;
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response};

use super::api;
use super::target::RequestTarget;

/// Send one request to an object and print its answer.
///
/// Exits 1 if the answer's status is 400 or above.
#[derive(clap::Args)]
#[command(
    override_usage = "holdfast invoke [OPTIONS] <CLASS/NAME>[/PATH][?QUERY]",
    after_help = "Examples:\n  \
    holdfast invoke counter/alice\n  \
    holdfast invoke notes/acme/notes -d '{\"text\":\"milk\"}' -H 'content-type: application/json'\n  \
    holdfast invoke 'counter/a%2Fb/add?n=2' -X PUT -i      (the object named a/b)\n  \
    holdfast invoke counter a/b '/add?n=2' -X PUT -i       (the same)"
)]
pub struct Args {
    #[command(flatten)]
    target: RequestTarget,
    /// The method [default: GET, or POST with a body].
    #[arg(short = 'X', long)]
    method: Option<Method>,
    /// The body; @FILE reads a file, @- standard input.
    #[arg(short, long)]
    data: Option<String>,
    /// A header; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Print status and headers first.
    #[arg(short, long)]
    include: bool,
    /// The server's data listener.
    #[arg(
        long,
        env = "HOLDFAST_DATA_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8787"
    )]
    data_url: String,
}

/// The flag that selects another server.
const FLAG: &str = "--data-url";

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let shape = || "write NAME: VALUE, for example 'content-type: application/json'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(shape)?;
    Ok((name.trim().parse().map_err(|_| shape())?, value.trim().parse().map_err(|_| shape())?))
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let base = api::base_url(&args.data_url)?;
    let body = args.data.as_deref().map(read_data).transpose()?;
    let method = args.method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    let takes_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let body = body.or_else(|| takes_body.then(|| api::NO_BYTES.into()));
    let mut request = Request::builder().method(method).uri(format!("{base}{}", args.target.path));
    for (name, value) in args.headers {
        request = request.header(name, value);
    }
    let agent = api::agent();
    let response = match body {
        Some(body) => api::send(&agent, &base, FLAG, request.body(body)?),
        None => api::send(&agent, &base, FLAG, request.body(())?),
    }?;
    print(response, args.include)
}

fn read_data(data: &str) -> anyhow::Result<Vec<u8>> {
    let Some(file) = data.strip_prefix('@') else { return Ok(data.into()) };
    if file == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("cannot read {file}; -d @FILE reads a file, -d TEXT sends text"))
}

fn print(response: Response<Body>, include: bool) -> anyhow::Result<()> {
    let status = response.status();
    if api::is_problem(&response) && !include {
        return Err(api::problem(response));
    }
    let mut out = io::stdout().lock();
    if include {
        writeln!(out, "{:?} {status}", response.version())?;
        for (name, value) in response.headers() {
            writeln!(out, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        writeln!(out)?;
    }
    let mut body = Vec::new();
    response
        .into_body()
        .into_reader()
        .read_to_end(&mut body)
        .context("the answer is incomplete; see the server's log")?;
    out.write_all(&body)?;
    if out.is_terminal() && body.last().is_some_and(|&byte| byte != b'\n') {
        writeln!(out)?;
    }
    out.flush()?;
    if status.is_client_error() || status.is_server_error() {
        bail!("the object answered {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_a_name_and_a_value() {
        let (name, value) = header("X-Tenant:  acme : 1 ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-tenant", "acme : 1"));
        for bad in ["x-tenant", "a b: c", ": c", "a: b\nc"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_is_text_or_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("body");
        std::fs::write(&file, [0, 255]).unwrap();
        assert_eq!(read_data("a@b").unwrap(), b"a@b");
        assert_eq!(read_data(&format!("@{}", file.display())).unwrap(), [0, 255]);
        assert!(read_data("@").is_err());
    }
}
