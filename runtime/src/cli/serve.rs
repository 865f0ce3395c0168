//! `holdfast serve`: runs a server until a signal stops it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::json;

use super::{Server, signals};
use crate::base::Env;
use crate::config::{ConfigFile, DEFAULT_DATA, ServerConfig};

/// Run a server.
///
/// Prints one line on standard output when it is ready. SIGTERM and SIGINT let running turns end, then exit 0; a second
/// signal ends the process at once.
#[derive(clap::Args)]
pub struct Args {
    /// The data directory; created if missing [default: ./.holdfast].
    #[arg(long, env = "HOLDFAST_DATA", hide_env_values = true, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    /// The file with settings and limits [default: ./holdfast.toml if it exists]. Flags override it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the ready line as JSON.
    #[arg(long)]
    json: bool,
}

/// The address options of `serve` and `dev`.
#[derive(clap::Args)]
pub struct ListenArgs {
    /// The address of the data listener; port 0 selects a free port [default: 127.0.0.1:8787].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The address of the admin listener; port 0 selects a free port [default: 127.0.0.1:8788].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    admin_listen: Option<SocketAddr>,
}

impl ListenArgs {
    /// Applies the flags, which override the file.
    pub fn apply(&self, config: &mut ServerConfig) {
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin_listen = self.admin_listen.unwrap_or(config.admin_listen);
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write it as IP:PORT, for example 127.0.0.1:8787 or 0.0.0.0:0".into())
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let config = config(&args)?;
    let (stop, stopped) = mpsc::channel();
    signals::on_stop(move || _ = stop.send(()))?;

    let server = Server::start(config, Env::system())?;
    writeln!(io::stdout(), "{}", ready_line(server.data_addr(), server.admin_addr(), args.json))?;
    io::stdout().flush()?;

    stopped.recv()?;
    tracing::info!("stopping: running turns may end; a second signal ends them");
    server.stop();
    Ok(())
}

fn config(args: &Args) -> anyhow::Result<ServerConfig> {
    let file = match &args.config {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::of_directory(Path::new(""))?,
    };
    let mut config = file.server(Path::new(DEFAULT_DATA));
    args.listen.apply(&mut config);
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

fn ready_line(data: SocketAddr, admin: SocketAddr, json: bool) -> String {
    if json {
        // Formatted by hand so that the keys keep the documented order.
        format!(r#"{{"ready":true,"data":{},"admin":{}}}"#, json!(data.to_string()), json!(admin.to_string()))
    } else {
        format!("holdfast ready data={data} admin={admin}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_ADMIN_LISTEN;

    #[test]
    fn the_ready_line_is_as_documented() {
        let (data, admin) = ("127.0.0.1:8787".parse().unwrap(), "127.0.0.1:8788".parse().unwrap());
        assert_eq!(ready_line(data, admin, false), "holdfast ready data=127.0.0.1:8787 admin=127.0.0.1:8788");
        assert_eq!(ready_line(data, admin, true), r#"{"ready":true,"data":"127.0.0.1:8787","admin":"127.0.0.1:8788"}"#);
    }

    #[test]
    fn flags_override_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.toml");
        std::fs::write(&file, "[server]\ndata = 'state'\nlisten = '127.0.0.1:1'\nerror-details = true").unwrap();
        let listen = ListenArgs { listen: Some("127.0.0.1:9".parse().unwrap()), admin_listen: None };
        let mut args = Args { data: None, listen, config: Some(file), json: false };

        let from_file = config(&args).unwrap();
        assert_eq!(from_file.data, directory.path().join("state"));
        assert_eq!(from_file.listen, "127.0.0.1:9".parse().unwrap());
        assert_eq!(from_file.admin_listen, DEFAULT_ADMIN_LISTEN);
        assert!(from_file.error_details);

        args.data = Some("elsewhere".into());
        assert_eq!(config(&args).unwrap().data, Path::new("elsewhere"));
    }
}
