//! A `wasi:http/incoming-handler` made with public bindings only: echoes method, path, the header `x-echo` and body as
//! JSON. `/count` counts in a static, `/big?bytes=` streams a body, `/never` sets no response, `/outgoing` tries an
//! outgoing request.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct WasiHttp;

wasip2::http::proxy::export!(WasiHttp);

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Guest for WasiHttp {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let uri = request.path_with_query().unwrap_or_default();
        let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
        match path {
            "/count" => answer(out, "text/plain", (COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string().as_bytes()),
            "/big" => {
                let bytes = query.strip_prefix("bytes=").and_then(|n| n.parse().ok()).expect("/big?bytes=<number>");
                stream(out, "application/octet-stream", |body| {
                    std::io::copy(&mut std::io::repeat(b'x').take(bytes), body).map(|_| ())
                });
            }
            "/never" => {}
            "/outgoing" => answer(out, "text/plain", outgoing().as_bytes()),
            _ => answer(out, "application/json", echo(&request).as_bytes()),
        }
    }
}

fn echo(request: &IncomingRequest) -> String {
    let mut body = Vec::new();
    let incoming = request.consume().expect("the body is taken once");
    incoming.stream().expect("the stream is taken once").read_to_end(&mut body).expect("the body arrives");
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Other(name) => name,
        other => format!("{other:?}"),
    };
    let header = request.headers().get("x-echo").first().map(|value| String::from_utf8_lossy(value).into_owned());
    json!({
        "method": method,
        "path_with_query": request.path_with_query(),
        "x-echo": header,
        "body": String::from_utf8_lossy(&body),
    })
    .to_string()
}

/// Answers the result of an outgoing request.
fn outgoing() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_path_with_query(Some("/")).expect("a path");
    request.set_scheme(Some(&Scheme::Http)).expect("http is a scheme");
    request.set_authority(Some("127.0.0.1:1")).expect("an address is an authority");
    match outgoing_handler::handle(request, None) {
        Err(error) => format!("refused: {error:?}"),
        Ok(response) => {
            response.subscribe().block();
            match response.get() {
                Some(Ok(Ok(response))) => format!("answered: {}", response.status()),
                Some(Ok(Err(error))) => format!("failed: {error:?}"),
                Some(Err(())) | None => "lost".to_owned(),
            }
        }
    }
}

fn answer(out: ResponseOutparam, content_type: &str, body: &[u8]) {
    stream(out, content_type, |stream| stream.write_all(body));
}

fn stream(out: ResponseOutparam, content_type: &str, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    let headers = Fields::from_list(&[("content-type".to_owned(), content_type.into())]).expect("a valid header");
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("the stream is taken once");
    write(&mut stream).and_then(|()| Write::flush(&mut stream)).expect("the host takes the body");
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is complete");
}
