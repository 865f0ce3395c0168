//! Stands in for the server until the real one is merged: it has the names of the contract and binds the ports.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::logs::GuestLogs;
use crate::base::{ClassName, Env};
use crate::config::ServerConfig;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("port {} is in use; pass {flag}", address.port())]
    InUse { address: SocketAddr, flag: &'static str },
    #[error("cannot listen on {address}: {source}; pass {flag}")]
    Listen { address: SocketAddr, flag: &'static str, source: io::Error },
}

pub struct Server {
    data: TcpListener,
    admin: TcpListener,
    logs: GuestLogs,
}

pub struct Deployed {
    pub class: Arc<Class>,
    pub changed: bool,
}

pub struct Class;

pub struct VersionInfo {
    pub version: u64,
}

impl Class {
    pub fn info(&self) -> VersionInfo {
        VersionInfo { version: 1 }
    }
}

impl Server {
    pub fn start(config: ServerConfig, _env: Env) -> Result<Self, StartError> {
        let bind = |address: SocketAddr, flag| {
            TcpListener::bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => StartError::InUse { address, flag },
                _ => StartError::Listen { address, flag, source },
            })
        };
        let (data, admin) = (bind(config.listen, "--listen")?, bind(config.admin_listen, "--admin-listen")?);
        Ok(Self { data, admin, logs: GuestLogs::default() })
    }

    pub fn data_addr(&self) -> SocketAddr {
        self.data.local_addr().expect("bound")
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr().expect("bound")
    }

    pub fn logs(&self) -> &GuestLogs {
        &self.logs
    }

    pub fn deploy(&self, _class: ClassName, _component: Bytes) -> Result<Deployed, StartError> {
        Ok(Deployed { class: Arc::new(Class), changed: true })
    }

    pub fn stop(self) {}
}
