//! One host from start to stop: opens the data directory, builds the layers, serves two listeners, and stops everything
//! in an order that loses no data.
//!
//! Two tokio runtimes: the gateway's, which must always answer, and the guests', whose threads compute and wait for
//! SQLite. A guest that occupies a thread occupies one of the second runtime only.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::base::logs::GuestLogs;
use crate::base::{CallIds, ClassName, Env, Failpoint, Failures, HostMemory, Metrics};
use crate::config::ServerConfig;
use crate::gateway::{
    ADMIN_CONNECTIONS, AdminService, AdminSettings, AdminToken, DataService, DataSettings, Intake, Patience, Places,
    SocketSettings, connections_max, serve,
};
use crate::object::class::Loader;
use crate::object::{HostContext, Residency};
use crate::router::{Classes, DeployError, DeploySettings, Deployed, Router};
use crate::sockets::Sockets;
use crate::storage::{ClassRecords, DataDir, DataDirError, Databases, StorageError};
use crate::wasm::{Engine, machine_memory};

/// Guest threads per core: SQLite's reads and writes block a thread, so there are more threads than cores.
const GUEST_THREADS_PER_CORE: usize = 4;
/// The time for WebSocket peers to answer the close frame, and then for the listeners to send the last responses, after
/// every object has left.
const LAST_RESPONSES: Duration = Duration::from_secs(5);

/// The reason why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is in use.
    #[error("port {} is in use; pass {flag}", address.port())]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The flag that selects another address.
        flag: &'static str,
    },
    /// The host cannot listen on the address.
    #[error("cannot listen on {address}: {cause}; pass {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that selects another address.
        flag: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The content of the data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A secret of this node cannot be read or created.
    #[error("cannot read or create {path}: {cause}")]
    Secret {
        /// The file.
        path: String,
        /// The cause.
        cause: io::Error,
    },
    /// The machine refuses threads or memory.
    #[error("cannot set up the host: {0}; lower `live-instances` in [limits] if memory maps ran out")]
    Machine(String),
}

/// A running host.
pub struct Server {
    data_addr: SocketAddr,
    admin_addr: SocketAddr,
    admin_token: String,
    router: Arc<Router>,
    logs: Arc<GuestLogs>,
    databases: Databases,
    /// Holds the lock of the directory for as long as anything may write to it.
    data: DataDir,
    patience: Duration,
    stopping: watch::Sender<bool>,
    listeners: JoinSet<()>,
    gateway: Runtime,
    guests: Runtime,
}

impl Server {
    /// Opens the data directory and starts to serve. Returns once both listeners accept connections. Blocks.
    pub fn start(config: ServerConfig, env: Env) -> Result<Self, StartError> {
        let data_listener = listen(config.listen, "--listen")?;
        let admin_listener = listen(config.admin_listen, "--admin-listen")?;
        let data = DataDir::open(&config.data)?;
        let admin_token = secret(&data, &data.admin_token_path(), || hex::encode(env.random::<32>()))?;
        let (gateway, guests) = (runtime("gateway", 1)?, runtime("guest", GUEST_THREADS_PER_CORE)?);

        let memory = HostMemory::new(match config.limits.host_memory {
            0 => machine_memory() / 4,
            bytes => bytes,
        });
        let logs = Arc::new(GuestLogs::new(memory.clone()));
        let metrics = Arc::new(Metrics::default());
        let (router, databases) = build(&config, &env, &data, memory, &logs, &metrics, guests.handle().clone())?;

        let (stopping, _) = watch::channel(false);
        let addresses = [&data_listener, &admin_listener].map(|listener| listener.local_addr());
        let [Ok(data_addr), Ok(admin_addr)] = addresses else {
            return Err(StartError::Machine("a listener has no address".into()));
        };
        let intake = Intake::of(&config.limits, env.clone());
        let data_service = DataService::new(
            router.clone(),
            DataSettings {
                request_body: config.limits.request_body,
                intake: intake.clone(),
                hosts: config.hosts.of_listener(data_addr.ip()),
                sockets: SocketSettings {
                    message: config.limits.socket_message,
                    silence: config.limits.socket_silence(),
                },
                error_details: config.error_details,
            },
        );
        let admin_service = AdminService::new(
            router.clone(),
            logs.clone(),
            metrics.clone(),
            AdminToken::new(admin_token.clone()),
            AdminSettings {
                component: config.limits.component,
                intake,
                hosts: config.hosts.of_listener(admin_addr.ip()),
                stopping: stopping.subscribe(),
            },
        );
        let descriptors = router.descriptors();
        let connections = connections_max(&config.limits, &descriptors, machine_memory());
        tracing::info!("room for {connections} connections, and {ADMIN_CONNECTIONS} to the admin listener");
        let (per_address, trusted) = (config.limits.connections_per_address, config.trusted_proxies);
        let places = Places::new(connections, per_address, trusted, descriptors, metrics.clone());
        let admin_places = Places::set_aside(ADMIN_CONNECTIONS, metrics);
        let of_clients = (Patience::of(&config.limits), env.clone());
        let mut listeners = JoinSet::new();
        let runtime = gateway.handle();
        listeners
            .spawn_on(serve(data_listener, data_service, places, of_clients.clone(), stopping.subscribe()), runtime);
        listeners
            .spawn_on(serve(admin_listener, admin_service, admin_places, of_clients, stopping.subscribe()), runtime);
        runtime.spawn(sweep(router.clone(), config.limits.idle()));
        // On the runtime of their objects: each wake-up across the two runtimes would cost a system call.
        guests.spawn(router.clone().run_alarms());
        guests.spawn(router.clone().check_alarms());
        let patience = config.limits.shutdown();
        Ok(Self {
            data_addr,
            admin_addr,
            admin_token,
            router,
            logs,
            databases,
            data,
            patience,
            stopping,
            listeners,
            gateway,
            guests,
        })
    }

    /// Returns the address of the data listener.
    pub fn data_addr(&self) -> SocketAddr {
        self.data_addr
    }

    /// Returns the address of the admin listener.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Returns the token that the admin listener requires.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Returns the log of guests.
    pub fn logs(&self) -> &GuestLogs {
        &self.logs
    }

    /// Reports whether every alarm that is due by now was sent to its object and is finished. For tests, which move the
    /// clock.
    pub fn alarms_are_done(&self) -> bool {
        self.router.alarms_are_done()
    }

    /// Deploys a component. Blocks.
    pub fn deploy(
        &self,
        class: ClassName,
        component: Bytes,
        settings: DeploySettings,
    ) -> Result<Deployed, DeployError> {
        self.gateway.block_on(self.router.deploy(class, component, settings))
    }

    /// Stops: refuses new requests, lets running turns end and sends their answers. Turns that still run when
    /// `limits.shutdown_seconds` are over are rolled back. Blocks.
    pub fn stop(self) {
        let Self { router, databases, data, patience, stopping, mut listeners, gateway, guests, .. } = self;
        let all_left = gateway.block_on(async {
            stopping.send_replace(true);
            let all_left = router.stop(patience).await;
            if !all_left {
                tracing::warn!("turns were still running after {} s and are rolled back", patience.as_secs_f64());
            }
            let _ = router.env().timeout(LAST_RESPONSES, router.close_sockets()).await;
            let last_responses = async { while listeners.join_next().await.is_some() {} };
            let _ = router.env().timeout(LAST_RESPONSES, last_responses).await;
            all_left
        });
        // Actors first: their databases are closed before the log and the directory's lock.
        guests.shutdown_timeout(Duration::from_secs(1));
        gateway.shutdown_timeout(Duration::from_secs(1));
        drop(router);
        // Nothing is lost without it: the next start reads more of the log.
        if !all_left {
            tracing::warn!("a turn did not end; the commit log is left as a crash would leave it");
        } else if let Err(error) = databases.close() {
            tracing::warn!(%error, "the commit log was not released");
        }
        drop(data);
    }
}

/// Builds the layers, from storage up.
fn build(
    config: &ServerConfig,
    env: &Env,
    data: &DataDir,
    memory: HostMemory,
    logs: &Arc<GuestLogs>,
    metrics: &Arc<Metrics>,
    guests: Handle,
) -> Result<(Arc<Router>, Databases), StartError> {
    let limits = Arc::new(config.limits.clone());
    let node_key = node_key(data, env)?;
    let engine = Engine::new(&limits, env, data.disk().clone(), &data.cache(), node_key);
    let engine = Arc::new(engine.map_err(|error| StartError::Machine(format!("{error:#}")))?);
    let records = Arc::new(ClassRecords::open(data)?);
    let databases = Databases::open(data, &limits, env, memory.clone())?;
    let residency = Arc::new(Residency::new(engine.capacity.clone(), env.clone(), metrics.clone()));
    let host = Arc::new(HostContext {
        loader: Loader::new(engine.clone(), records.clone()),
        engine,
        databases: databases.clone(),
        waits: Arc::default(),
        sockets: Arc::new(Sockets::new(limits.clone(), memory.clone(), metrics.clone(), env.clone())),
        residency,
        memory,
        limits,
        logs: logs.clone(),
        failures: Failures::new(logs.clone(), env.clone()),
        metrics: metrics.clone(),
        calls: CallIds::new(env),
        env: env.clone(),
    });
    let classes = Classes::open(records, host.clone())?;
    Ok((Arc::new(Router::new(host, classes, guests)), databases))
}

/// Builds a router without classes, for tests of the layers above it.
#[cfg(test)]
pub(crate) fn empty_router(directory: &Path, limits: crate::base::Limits) -> Arc<Router> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ServerConfig {
        data: directory.into(),
        listen: address,
        admin_listen: address,
        limits,
        error_details: false,
        hosts: Default::default(),
        trusted_proxies: Vec::new(),
    };
    let data = DataDir::open(directory).unwrap();
    let guests = Handle::current();
    let (memory, env) = (HostMemory::new(1 << 30), Env::system());
    let logs = Arc::new(GuestLogs::new(memory.clone()));
    build(&config, &env, &data, memory, &logs, &Arc::default(), guests).unwrap().0
}

fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse { address, flag },
        _ => StartError::Listen { address, flag, cause },
    })
}

fn runtime(name: &'static str, threads_per_core: usize) -> Result<Runtime, StartError> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let built =
        Builder::new_multi_thread().worker_threads(cores * threads_per_core).thread_name(name).enable_all().build();
    built.map_err(|error| StartError::Machine(error.to_string()))
}

async fn sweep(router: Arc<Router>, idle: Duration) {
    let mut ticks = router.env().ticks((idle / 10).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        router.sweep();
        let _ = tokio::task::spawn_blocking(crate::storage::heap::trim).await;
    }
}

/// Returns the key with which this node signs compiled code. Without it the code is compiled again.
fn node_key(data: &DataDir, env: &Env) -> Result<[u8; 32], StartError> {
    let path = data.root().join("node.key");
    let text = secret(data, &path, || hex::encode(env.random::<32>()))?;
    let mut key = [0; 32];
    let decoded = hex::decode_to_slice(&text, &mut key);
    decoded.map_err(|_| StartError::Secret {
        path: path.display().to_string(),
        cause: io::Error::new(
            io::ErrorKind::InvalidData,
            "it is damaged; remove it, and the host creates a new key and compiles the classes again",
        ),
    })?;
    Ok(key)
}

/// Returns the secret in a file, and creates the file if there is none. Only the owner may read it.
fn secret(data: &DataDir, path: &Path, make: impl FnOnce() -> String) -> Result<String, StartError> {
    let read_or_make = || {
        let found = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            found => found?,
        };
        if !found.trim().is_empty() {
            return Ok(found.trim().to_owned());
        }
        let text = make();
        data.disk().replace(Failpoint::SecretWrite, path, text.as_bytes())?;
        Ok(text)
    };
    read_or_make().map_err(|cause| StartError::Secret { path: path.display().to_string(), cause })
}
