//! `holdfast dev`: builds, serves, shows logs, and repeats this whenever the sources change. State is kept: it is a
//! server like any other, with its data directory in the project.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;

use super::build::{self, CompilerFailed};
use super::project::Project;
use super::serve::ListenArgs;
use super::show::{self, Colour, Colours};
use super::watch::{self, Event, Watch};
use super::{Server, logs, signals};
use crate::base::{Env, output};
use crate::config::{ConfigFile, DEFAULT_DATA};
use crate::router::DeploySettings;

/// Build a project and serve it; build and deploy again when its sources change.
///
/// Objects keep their data, through changes and from one run to the next. After a change that does not compile, the
/// previous version continues to serve. Settings of the server come from the project's holdfast.toml; Ctrl-C stops.
#[derive(clap::Args)]
pub struct Args {
    /// The project's directory.
    #[arg(default_value = ".")]
    project: PathBuf,
    #[command(flatten)]
    listen: ListenArgs,
    /// The data directory [default: .holdfast in the project].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let project = Project::open(&args.project)?;
    let file = ConfigFile::of_directory(&project.root)?;
    let error_details = file.server.error_details.unwrap_or(true);
    let mut config = file.server(&project.root.join(DEFAULT_DATA));
    config.error_details = error_details;
    args.listen.apply(&mut config);
    config.data = args.data.unwrap_or(config.data);

    let (events, inbox) = mpsc::channel();
    let stop = events.clone();
    signals::on_stop(move || _ = stop.send(Event::Stop))?;
    let data = config.data.clone();
    // Before the build, which takes longer: a port in use should be reported at once.
    let server = Server::start(config, Env::system())?;
    let mut watch = Watch::start(&project.root, &data, events)?;
    let mut session = Session { server, root: project.root, serving: None, colours: Colours::of_stdout() };
    session.say("serving", &format!("http://{}", reachable(session.server.data_addr())));
    session.say("admin", &format!("http://{}", reachable(session.server.admin_addr())));
    session.say("data", &data.display().to_string());
    session.show_logs()?;

    let result = session.run(&inbox, &mut watch);
    session.server.stop();
    output::stdout().flush();
    result
}

struct Session {
    server: Server,
    root: PathBuf,
    /// The current version, for example `counter version 3`.
    serving: Option<String>,
    colours: Colours,
}

impl Session {
    fn run(&mut self, inbox: &mpsc::Receiver<Event>, watch: &mut Watch) -> anyhow::Result<()> {
        match self.redeploy() {
            // Ctrl-C ends the compiler too; the stop event follows.
            Err(error) if error.is::<CompilerFailed>() => self.failed(&error),
            result => result?,
        }
        self.say("watching", &format!("{}; Ctrl-C stops", self.root.display()));
        while let Some(Event::Changed(file)) = watch::next(inbox) {
            // The last change of an editor may be to remove its own copy of the file.
            let shown = if self.root.join(&file).exists() { &file } else { file.parent().unwrap_or(&file) };
            self.say("changed", &show::printable(&shown.to_string_lossy()));
            if let Err(error) = watch.refresh().and_then(|()| self.redeploy()) {
                self.failed(&error);
            }
        }
        Ok(())
    }

    fn redeploy(&mut self) -> anyhow::Result<()> {
        let env = Env::system();
        let built = build::build(&self.root)?;
        let took = show::duration(env.elapsed());
        let component = std::fs::read(&built.component)
            .with_context(|| format!("cannot read the component {}", built.component.display()))?;
        let size = show::bytes(component.len() as u64);
        let Project { create, interleave, late_seconds, calls, public, .. } = Project::open(&self.root)?;
        let settings = DeploySettings { create, interleave, late_seconds, calls, public, message: None };
        let deployed = self.server.deploy(built.class.clone(), component.into(), settings)?;
        let serving = format!("{} version {}", built.class, deployed.class.info().version);
        match deployed.changed {
            true => self.say("deployed", &format!("{serving}, {size}, built in {took}")),
            false => self.say("unchanged", &serving),
        }
        if self.serving.replace(serving).is_none() {
            let url = format!("http://{}/{}/alice", reachable(self.server.data_addr()), built.class);
            self.say("try", &format!("curl {url}"));
        }
        Ok(())
    }

    fn failed(&self, error: &anyhow::Error) {
        output::stderr().line(format!("error: {}\n", show::chain(error)).as_bytes());
        match &self.serving {
            Some(serving) => self.say("serving", &format!("{serving}, still; save a change to try again")),
            None => self.say("waiting", "for a change; save one to try again"),
        }
    }

    /// Prints one line about an event, its label aligned with the others'.
    fn say(&self, label: &str, text: &str) {
        let label = format!("{label:>9}");
        output::stdout().line(format!("{}  {text}\n", self.colours.paint(Colour::Green, &label)).as_bytes());
    }

    /// Prints guests' log entries as they come, until the server ends.
    fn show_logs(&self) -> anyhow::Result<()> {
        let colours = self.colours;
        let (history, mut live) = self.server.logs().follow(None);
        let print = |text: &str| output::stdout().line(text.as_bytes());
        let show = move || {
            history.iter().for_each(|entry| print(&logs::line(entry, colours)));
            loop {
                match live.blocking_recv() {
                    Ok(entry) => print(&logs::line(&entry, colours)),
                    Err(RecvError::Lagged(missed)) => print(&format!("{}\n", logs::missed_line(missed))),
                    Err(RecvError::Closed) => return,
                }
            }
        };
        thread::Builder::new().name("logs".into()).spawn(show).context("cannot start a thread")?;
        Ok(())
    }
}

/// Returns an address that a user can type: a server that listens on all addresses is reachable at the loopback
/// address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_can_be_typed() {
        for (listens, typed) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.1:3", "127.0.0.1:3"),
            ("10.0.0.1:4", "10.0.0.1:4"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), typed.parse().unwrap());
        }
    }
}
