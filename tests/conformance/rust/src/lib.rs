//! The class of the conformance suite in Rust, as `docs/CONFORMANCE.md` specifies it.

mod late;
mod words;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast::log::{Level, Record, kv};
use holdfast::prelude::*;
use holdfast::sql::Value;

use late::{Answering, Pause, Script, Step, Work};
use words::{Words, bad_script, decode, encode, option, refusal, show};

#[object(alarm, websocket, later)]
struct Conformance {
    ctx: Context,
    count: u64,
    late: Work,
}

/// The event of a script, as far as it needs it.
#[derive(Clone, Copy, Default)]
struct About {
    socket: Option<WebSocket>,
    retry_count: Option<u32>,
}

impl Object for Conformance {
    fn new(ctx: Context) -> Result<Self> {
        let name = ctx.name().unwrap_or_default();
        if name.starts_with("init") {
            let inits = ctx.storage().get_bytes("inits")?.unwrap_or(b"0".into());
            let inits: u64 = str::from_utf8(&inits)?.parse()?;
            ctx.storage().put_bytes("inits", (inits + 1).to_string())?;
        }
        ensure!(name != "init-fails", "bad-name", "not to be made");
        Ok(Self { ctx, count: 0, late: Work::default() })
    }

    fn fetch(&mut self, request: Request) -> Result<Response> {
        match request.segments().as_slice() {
            [echo, ..] if echo.starts_with("echo") => Ok(echo_back(&request)),
            ["status", status] => {
                let mut response = Response::new(StatusCode::from_bytes(status.as_bytes())?);
                for cookie in ["a=1", "b=2"] {
                    response.headers_mut().append("set-cookie", cookie.parse()?);
                }
                Ok(response)
            }
            ["accept", protocol, tags @ ..] => self.accept(&request, protocol, tags),
            ["accept-held", protocol] => {
                let (socket, response) = self.ctx.accept_websocket(&request, [""; 0])?;
                self.ctx.hold_for(socket)?;
                Ok(if *protocol == "-" { response } else { response.with_header("sec-websocket-protocol", *protocol) })
            }
            ["accept-later", wait, protocol, tags @ ..] => {
                let answering = Answering::Upgrade { protocol: (*protocol).into(), tags: texts(tags)? };
                self.begin(&format!("wait {wait}"), answering, About::default())?;
                Ok(Response::new(StatusCode::NO_CONTENT))
            }
            ["refuse"] => Ok(Response::new(StatusCode::FORBIDDEN)),
            ["run"] => {
                let answers = self.begin(request.text()?, Answering::Request, About::default())?;
                Ok(Response::text(answers.unwrap_or_default()))
            }
            _ => Ok(Response::new(StatusCode::NOT_FOUND)),
        }
    }
}

impl AlarmHandler for Conformance {
    fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.note(&format!("alarm {} {}", millis(alarm.scheduled)?, alarm.retry_count))?;
        let script = self.ctx.storage().get_bytes("on-alarm")?.unwrap_or_default();
        let about = About { retry_count: Some(alarm.retry_count), ..About::default() };
        self.begin(str::from_utf8(&script)?, Answering::Event, about)?;
        Ok(())
    }
}

impl WebSocketHandler for Conformance {
    fn message(&mut self, socket: WebSocket, message: Message) -> Result<()> {
        let Message::Text(script) = &message else { return Ok(socket.send(message).map(drop)?) };
        let about = About { socket: Some(socket), ..About::default() };
        if let Some(answers) = self.begin(script, Answering::Event, about)? {
            socket.send(answers)?;
        }
        Ok(())
    }

    fn close(&mut self, _socket: WebSocket, close: Close) -> Result<()> {
        self.note(&format!("close {} {} {}", close.code, encode(close.reason), close.was_clean))
    }

    fn error(&mut self, _socket: WebSocket, _reason: String) -> Result<()> {
        self.note("error")
    }
}

impl Conformance {
    fn accept(&self, request: &Request, protocol: &str, tags: &[&str]) -> Result<Response> {
        match self.ctx.accept_websocket(request, texts(tags)?) {
            Ok((_, response)) if protocol == "-" => Ok(response),
            Ok((_, response)) => Ok(response.with_header("sec-websocket-protocol", protocol)),
            Err(error) => Ok(Response::text(refusal(error.into())? + "\n").with_status(StatusCode::CONFLICT)),
        }
    }

    /// Adds a line to the recorded events.
    fn note(&self, line: &str) -> Result<()> {
        let mut events = self.ctx.storage().get_bytes("events")?.unwrap_or_default();
        events.extend_from_slice(format!("{line}\n").as_bytes());
        Ok(self.ctx.storage().put_bytes("events", events)?)
    }

    /// Runs the lines of a script up to its end or a pause, and returns the pause.
    fn run(&mut self, script: &mut Script) -> Result<Option<Pause>> {
        while let Some(line) = script.lines.pop_front() {
            match self.late_command(&line, script).or_else(|error| refusal(error).map(Step::Answer))? {
                Step::Answer(answer) => script.answer(&answer),
                Step::Pause(pause) => return Ok(Some(pause)),
                Step::NotLate => self.run_line(&line, script)?,
            }
        }
        Ok(None)
    }

    fn run_line(&mut self, line: &str, script: &mut Script) -> Result<()> {
        let answer = match line {
            "transaction keep" => self.transaction(script, true)?,
            "transaction undo" => self.transaction(script, false)?,
            line => match line.strip_prefix("uncaught ") {
                Some(line) => self.command(line, script.about)?,
                None => self.command(line, script.about).or_else(refusal)?,
            },
        };
        script.answer(&answer);
        Ok(())
    }

    /// Runs the lines up to the end of a transaction.
    fn run_transaction(&mut self, script: &mut Script) -> Result<()> {
        while let Some(line) = script.lines.pop_front() {
            if line == "end" {
                return Ok(());
            }
            self.run_line(&line, script)?;
        }
        bail!("bad-script", "a transaction has no end")
    }

    fn transaction(&mut self, script: &mut Script, keep: bool) -> Result<String> {
        let storage = self.ctx.storage();
        let ended = storage.transaction(|| {
            self.run_transaction(script)?;
            ensure!(keep, "undo", "as asked");
            Ok("kept".to_owned())
        });
        match ended {
            Err(error) if error.code() == "undo" => Ok("undone".into()),
            Err(error) if error.downcast_ref::<StorageError>().is_some() => {
                // The transaction was not begun: its lines are skipped.
                let mut depth = 1;
                while depth > 0 {
                    match script.lines.pop_front().as_deref() {
                        Some("end") => depth -= 1,
                        Some(line) if line.starts_with("transaction ") => depth += 1,
                        Some(_) => {}
                        None => return Err(bad_script("a transaction has no end")),
                    }
                }
                refusal(error)
            }
            ended => ended,
        }
    }

    fn command(&mut self, line: &str, about: About) -> Result<String> {
        let mut words = Words::of(line);
        let storage = self.ctx.storage();
        let done = |()| "ok".to_owned();
        Ok(match words.word()? {
            "id" => self.ctx.id(),
            "name" => option(self.ctx.name()),
            "class" => self.ctx.class(),
            "count" => {
                self.count += 1;
                self.count.to_string()
            }
            "get" => option(storage.get_bytes(words.text()?)?),
            "put" => storage.put_bytes(words.text()?, words.bytes()?).map(done)?,
            "delete" => storage.delete(words.text()?)?.to_string(),
            "get-many" => entries(storage.get_many_bytes(words.texts()?)?),
            "put-many" => {
                let mut entries = Vec::new();
                while let Some(key) = words.next() {
                    entries.push((String::from_utf8(decode(key))?, words.bytes()?));
                }
                storage.put_many_bytes(entries).map(done)?
            }
            "delete-many" => storage.delete_many(words.texts()?)?.to_string(),
            "list" => entries(storage.list_bytes(list_options(&mut words)?)?.collect::<Result<Vec<_>, _>>()?),
            "sql" => {
                let rows = self.ctx.sql().exec(&words.text()?, words.values()?)?;
                let mut answer = vec![rows.columns().len().to_string()];
                answer.extend(rows.columns().iter().map(encode));
                for row in rows {
                    answer.extend(row?.values().iter().map(show));
                }
                answer.join(" ")
            }
            "sql-changes" => {
                let rows = self.ctx.sql().exec(&words.text()?, words.values()?)?;
                format!("{} {}", rows.changes(), rows.last_insert_rowid())
            }
            "sql-sum" => {
                let (mut count, mut sum) = (0, 0);
                for row in self.ctx.sql().exec(&words.text()?, words.values()?)? {
                    let Some(Value::Integer(number)) = row?.values().first().cloned() else { return Err(words.bad()) };
                    (count, sum) = (count + 1, sum + number);
                }
                format!("{count} {sum}")
            }
            "size" => storage.size()?.to_string(),
            "delete-all" => storage.delete_all().map(done)?,
            "sync" => storage.sync().map(done)?,
            "alarm-get" => option(self.ctx.alarm().get()?.map(millis).transpose()?.map(|time| time.to_string())),
            "alarm-set" => {
                let time = UNIX_EPOCH + Duration::from_millis(words.number()?);
                self.ctx.alarm().set(time).map(done)?
            }
            "alarm-delete" => self.ctx.alarm().delete().map(done)?,
            "fail" => {
                let error = Error::new(words.text()?, words.text()?);
                return Err(if words.number()? { error.retryable() } else { error });
            }
            "fail-before" => {
                let first = words.number()?;
                ensure!(about.retry_count.is_none_or(|count| count >= first), "too-early", "not yet");
                done(())
            }
            "throw" => throw(&words.text()?),
            "log" => {
                let (level, message, fields) = (words.number()?, words.text()?, words.texts()?);
                log(level, &message, fields.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect());
                done(())
            }
            "print" => {
                println!("{}", words.text()?);
                done(())
            }
            "print-error" => {
                eprintln!("{}", words.text()?);
                done(())
            }
            "now" => millis(SystemTime::now())?.to_string(),
            "random" => format!("{} {}", getrandom::u64()?, getrandom::u64()?),
            _ => return self.socket_command(line, about),
        })
    }

    fn socket_command(&mut self, line: &str, about: About) -> Result<String> {
        let mut words = Words::of(line);
        let command = words.word()?;
        match command {
            "sockets" => {
                let tag = words.next().map(|tag| String::from_utf8(decode(tag))).transpose()?;
                return Ok(self.ctx.websockets(tag.as_deref()).len().to_string());
            }
            "broadcast" => {
                let message = words.message()?;
                let tag = words.next().map(|tag| String::from_utf8(decode(tag))).transpose()?;
                return Ok(self.ctx.broadcast(tag.as_deref(), message)?.to_string());
            }
            "auto-response" => {
                match words.texts()?.as_slice() {
                    [] => self.ctx.remove_auto_response()?,
                    [request, response] => self.ctx.set_auto_response(request, response)?,
                    _ => return Err(words.bad()),
                }
                return Ok("ok".into());
            }
            "tags" | "attach" | "attachment" | "send" | "close" => {}
            _ => return Err(words.bad()),
        }
        let socket = match words.text()?.as_str() {
            "@" => about.socket,
            tag => self.ctx.websockets(tag).first().copied(),
        };
        let socket = socket.ok_or(WebSocketError::UnknownSocket)?;
        let closing = match command {
            "tags" => return Ok(socket.tags()?.iter().map(encode).collect::<Vec<_>>().join(" ")),
            "attachment" => return Ok(option(socket.attachment::<Vec<u8>>()?)),
            "attach" => {
                socket.set_attachment(&words.bytes()?)?;
                false
            }
            "send" => !socket.send(words.message()?)?,
            _ => !socket.close(words.number::<u16>()?, words.text()?)?,
        };
        Ok(if closing { "error closing" } else { "ok" }.into())
    }
}

fn texts(words: &[&str]) -> Result<Vec<String>> {
    words.iter().map(|word| Ok(String::from_utf8(decode(word))?)).collect()
}

fn echo_back(request: &Request) -> Response {
    let mut response = Response::bytes(request.body())
        .with_header("x-method", request.method().as_str())
        .with_header("x-uri", request.uri().to_string());
    let values: Vec<_> = request.headers().get_all("x-case").iter().map(|value| value.as_bytes()).collect();
    if !values.is_empty() {
        response = response.with_header("x-case", values.join(&b", "[..]));
    }
    response
}

fn list_options(words: &mut Words) -> Result<ListOptions> {
    let mut options = ListOptions::new();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let text = String::from_utf8(decode(value))?;
        options = match name {
            "start" => options.start(text),
            "start-after" => options.start_after(text),
            "end" => options.end(text),
            "prefix" => options.prefix(text),
            "reverse" => options.reverse(),
            "limit" => options.limit(value.parse()?),
            _ => return Err(words.bad()),
        };
    }
    Ok(options)
}

fn entries(entries: impl IntoIterator<Item = (String, Vec<u8>)>) -> String {
    let words = entries.into_iter().map(|(key, value)| format!("{} {}", encode(key), encode(value)));
    words.collect::<Vec<_>>().join(" ")
}

fn log(level: Level, message: &str, fields: Vec<(&str, &str)>) {
    let fields: Vec<(&str, kv::Value)> = fields.into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut record = Record::builder();
    let fields = &fields[..];
    let record = record.level(level).key_values(&fields);
    holdfast::log::logger().log(&record.args(format_args!("{message}")).build());
}

fn throw(message: &str) -> ! {
    throw_deeper(message)
}

fn throw_deeper(message: &str) -> ! {
    panic!("{message}")
}

fn millis(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}
