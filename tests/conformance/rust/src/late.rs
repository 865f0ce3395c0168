//! Scripts that wait, and commands that are run later.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use holdfast::prelude::*;

use crate::words::{Words, encode, refusal};
use crate::{About, Conformance};

/// The late work of the instance.
#[derive(Default)]
pub struct Work {
    waiting: Vec<(Pause, Script)>,
    /// Scripts that go on when the script that runs has ended, or waits.
    ready: Vec<Script>,
    timers: BTreeMap<String, (Debounce, String)>,
}

/// A script that has begun.
pub struct Script {
    pub lines: VecDeque<String>,
    answers: String,
    pub about: About,
    answering: Answering,
    /// Its caller, once the turn that it began in is deferred.
    deferred: Option<Deferred>,
    gone: Option<(Token, String)>,
}

/// Who waits for the end of a script.
pub enum Answering {
    Request,
    /// An alarm, or a message of the socket that the script is about.
    Event,
    Upgrade {
        protocol: String,
        tags: Vec<String>,
    },
}

/// What came of a line.
pub enum Step {
    Answer(String),
    /// The script goes on later.
    Pause(Pause),
    NotLate,
}

/// What a script waits for.
#[derive(PartialEq)]
pub enum Pause {
    Until(Token),
    UntilExclusive(Token),
    For(String),
}

impl Script {
    pub fn answer(&mut self, answer: &str) {
        self.answers.push_str(answer);
        self.answers.push('\n');
    }

    fn deferred(&mut self, ctx: &Context) -> Result<&Deferred> {
        if self.deferred.is_none() {
            self.deferred = Some(ctx.defer()?);
        }
        Ok(self.deferred.as_ref().expect("it was set"))
    }
}

impl Conformance {
    /// Runs a script, and returns its answers unless these come in a later turn.
    pub fn begin(&mut self, script: &str, answering: Answering, about: About) -> Result<Option<String>> {
        let lines = script.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let (answers, deferred, gone) = (String::new(), None, None);
        let mut script = Script { lines, answers, about, answering, deferred, gone };
        let answers = match self.run(&mut script)? {
            Some(pause) => {
                self.late.waiting.push((pause, script));
                None
            }
            None if script.deferred.is_some() => {
                self.end(script, Ok(()))?;
                None
            }
            None => Some(script.answers),
        };
        self.go_on()?;
        Ok(answers)
    }

    /// Runs the scripts that are ready to their ends, or until they wait again.
    fn go_on(&mut self) -> Result<()> {
        while let Some(mut script) = self.late.ready.pop() {
            match self.run(&mut script) {
                Ok(Some(pause)) => self.late.waiting.push((pause, script)),
                Ok(None) => self.end(script, Ok(()))?,
                Err(error) => self.end(script, Err(error))?,
            }
        }
        Ok(())
    }

    /// Answers the caller of a script that has waited.
    fn end(&mut self, script: Script, result: Result<()>) -> Result<()> {
        let Script { answers, about, answering, deferred, gone, .. } = script;
        let deferred = deferred.expect("it has waited");
        if let Some((token, _)) = gone {
            self.ctx.cancel(token);
        }
        let answered = match (result, answering) {
            (Err(error), _) => deferred.fail(error).map_err(Into::into),
            (Ok(()), Answering::Request) => deferred.respond(Response::text(answers)),
            (Ok(()), Answering::Upgrade { protocol, tags }) => upgrade(deferred, &protocol, tags),
            (Ok(()), Answering::Event) => {
                if let Some(socket) = about.socket {
                    socket.send(answers)?;
                }
                deferred.done().map_err(Into::into)
            }
        };
        // A caller that has gone needs no answer.
        answered.or_else(|error| if error.case() == Some("gone") { Ok(()) } else { Err(error) })
    }

    /// Runs a command of late work.
    pub fn late_command(&mut self, line: &str, script: &mut Script) -> Result<Step> {
        let mut words = Words::of(line);
        let answer = match words.word()? {
            "wait" => {
                script.deferred(&self.ctx)?;
                let token = self.ctx.resume_after(Duration::from_millis(words.number()?))?;
                script.answer("ok");
                return Ok(Step::Pause(Pause::Until(token)));
            }
            "wait-exclusive" => {
                script.deferred(&self.ctx)?;
                let token = self.ctx.resume_after(Duration::from_millis(words.number()?))?;
                self.ctx.set_exclusive(true);
                script.answer("ok");
                return Ok(Step::Pause(Pause::UntilExclusive(token)));
            }
            "wait-for" => {
                script.deferred(&self.ctx)?;
                return Ok(Step::Pause(Pause::For(words.text()?)));
            }
            "tell" => {
                let (topic, text) = (Pause::For(words.text()?), words.text()?);
                let hearing = self.late.waiting.extract_if(.., |(pause, _)| *pause == topic).map(|(_, script)| script);
                let mut hearing: Vec<Script> = hearing.collect();
                for script in &mut hearing {
                    script.answer(&encode(&text));
                }
                let count = hearing.len();
                self.late.ready.extend(hearing);
                count.to_string()
            }
            "later" => {
                let (delay, name) = (Duration::from_millis(words.number()?), words.text()?);
                let (timer, command) = self.late.timers.entry(name).or_default();
                timer.put_off(&self.ctx, delay)?;
                *command = words.rest();
                "ok".into()
            }
            "cancel" => {
                let timer = self.late.timers.remove(&words.text()?);
                timer.is_some_and(|(mut timer, _)| timer.cancel(&self.ctx)).to_string()
            }
            "on-gone" => {
                let token = script.deferred(&self.ctx)?.on_gone()?;
                script.gone = Some((token, words.text()?));
                "ok".into()
            }
            _ => return Ok(Step::NotLate),
        };
        Ok(Step::Answer(answer))
    }
}

impl LateHandler for Conformance {
    fn resume(&mut self, tokens: &[Token]) -> Result<()> {
        for token in tokens {
            let due =
                |pause: &Pause| matches!(pause, Pause::Until(until) | Pause::UntilExclusive(until) if until == token);
            for (pause, script) in self.late.waiting.extract_if(.., |(pause, _)| due(pause)) {
                if matches!(pause, Pause::UntilExclusive(_)) {
                    self.ctx.set_exclusive(false);
                }
                self.late.ready.push(script);
            }
            let gone = |script: &Script| script.gone.as_ref().is_some_and(|(gone, _)| gone == token);
            for (_, script) in self.late.waiting.extract_if(.., |(_, script)| gone(script)) {
                if let Some((_, key)) = &script.gone {
                    self.ctx.storage().put_bytes(key, "gone")?;
                }
            }
            let mut timers = self.late.timers.extract_if(.., |_, (timer, _)| timer.is_due(&[*token]));
            let due = timers.next();
            drop(timers);
            if let Some((_, (_, command))) = due
                && let Err(error) = self.command(&command, About::default())
            {
                holdfast::log::error!("{error}");
            }
        }
        self.go_on()
    }
}

fn upgrade(deferred: Deferred, protocol: &str, tags: Vec<String>) -> Result<()> {
    if let Err(error) = deferred.accept_websocket(tags) {
        return deferred.respond(Response::text(refusal(error.into())? + "\n").with_status(StatusCode::CONFLICT));
    }
    let response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
    deferred.respond(if protocol == "-" { response } else { response.with_header("sec-websocket-protocol", protocol) })
}
