//! The counters and gauges of the host, for `GET /metrics`. Counting never blocks a turn and never fails.

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;

/// The label of failed turns: the stable error code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    /// `TurnError::code`.
    pub code: &'static str,
}

/// The label of memory in use: its purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Purpose {
    /// `MemoryUse::name`.
    pub purpose: &'static str,
}

/// All counters and gauges of one host.
pub struct Metrics {
    registry: Registry,
    /// Turns that ended, whatever their outcome.
    pub turns: Counter,
    /// Turns that failed, by code.
    pub failed_turns: Family<Code, Counter>,
    /// Turns that were abandoned because their client had disconnected.
    pub abandoned_turns: Counter,
    /// Instances created.
    pub instances_started: Counter,
    /// Instances dropped to make room for others.
    pub instances_evicted: Counter,
    /// Instances dropped with late work: answers that they owed, or resumes that held them.
    pub late_work_dropped: Counter,
    /// Calls of objects that were delivered to other objects.
    pub calls: Counter,
    /// Calls that were refused before they were delivered, by code.
    pub calls_not_run: Family<Code, Counter>,
    /// Instances in memory.
    pub live_instances: Gauge,
    /// Objects in the router's map.
    pub live_objects: Gauge,
    /// Fuel units used by all turns.
    pub fuel: Counter,
    /// Alarm handlers that were run, whatever their outcome.
    pub alarms: Counter,
    /// Alarms that were discarded after their last attempt.
    pub alarms_given_up: Counter,
    /// Connections to both listeners, WebSockets included.
    pub connections: Gauge,
    /// Connections that were refused because of the limit in total or per address.
    pub connections_refused: Counter,
    /// Alarms that were overdue by more than the tolerance (10 s) at the last check and not running.
    pub alarms_overdue: Gauge,
    /// Overdue alarms that were missing in the index and that a check armed again: a fault of the host.
    pub alarms_rearmed: Counter,
    /// WebSockets.
    pub sockets: SocketMetrics,
    /// The commit log.
    pub log: LogMetrics,
    /// Bytes of the host's memory in use by classes, by purpose; updated before encoding.
    pub memory: Family<Purpose, Gauge>,
}

/// WebSockets.
#[derive(Clone, Default)]
pub struct SocketMetrics {
    /// Connections, closing ones included.
    pub open: Gauge,
    /// Bytes of messages that wait for peers or for their turn to be durable, with their bookkeeping; a message with
    /// many receivers counts once. The send queues and the incoming messages are in `Metrics::memory` as well.
    pub buffered_bytes: Gauge,
    /// Messages received.
    pub messages_in: Counter,
    /// Messages sent.
    pub messages_out: Counter,
}

impl SocketMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("sockets", "Open WebSockets", self.open.clone());
        registry.register("socket_buffered_bytes", "Bytes that wait for WebSockets", self.buffered_bytes.clone());
        registry.register("socket_messages_in", "Messages that WebSockets brought", self.messages_in.clone());
        registry.register("socket_messages_out", "Messages sent to WebSockets", self.messages_out.clone());
    }
}

/// The state of the commit log and its work since the start; updated before encoding.
#[derive(Clone, Default)]
pub struct LogMetrics {
    /// Flushes, whatever the number of turns and objects that shared them.
    pub flushes: Counter,
    /// Records: turns, or parts of large ones.
    pub records: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Bytes of segments that are still needed.
    pub live_bytes: Gauge,
    /// Bytes that wait for the disk.
    pub in_flight_bytes: Gauge,
}

impl LogMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("log_flushes", "Flushes of the commit log", self.flushes.clone());
        registry.register("log_records", "Records written to the commit log", self.records.clone());
        registry.register("log_bytes", "Bytes written to the commit log", self.bytes.clone());
        registry.register("log_live_bytes", "Bytes of the commit log that are still needed", self.live_bytes.clone());
        registry.register("log_in_flight_bytes", "Bytes that wait for the disk", self.in_flight_bytes.clone());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        let (turns, failed_turns) = (Counter::default(), Family::<Code, Counter>::default());
        let (instances_started, instances_evicted) = (Counter::default(), Counter::default());
        let (live_instances, live_objects, fuel) = (Gauge::default(), Gauge::default(), Counter::default());
        let (abandoned_turns, late_work_dropped) = (Counter::default(), Counter::default());
        let (calls, calls_not_run) = (Counter::default(), Family::<Code, Counter>::default());
        registry.register("calls", "Calls of objects that were delivered to other objects", calls.clone());
        let text = "Calls of objects that were refused before they were delivered, by error code";
        registry.register("calls_not_run", text, calls_not_run.clone());
        let text = "Instances dropped before they had answered or ended work that held them";
        registry.register("late_work_dropped", text, late_work_dropped.clone());
        registry.register("abandoned_turns", "Turns given up because their client had gone", abandoned_turns.clone());
        registry.register("turns", "Turns that ended", turns.clone());
        registry.register("failed_turns", "Turns that failed, by error code", failed_turns.clone());
        registry.register("instances_started", "Instances made", instances_started.clone());
        registry.register("instances_evicted", "Instances dropped to make room", instances_evicted.clone());
        registry.register("live_instances", "Instances in memory", live_instances.clone());
        registry.register("live_objects", "Objects with an actor", live_objects.clone());
        registry.register("fuel", "Fuel units used by turns", fuel.clone());
        let (alarms, alarms_given_up) = (Counter::default(), Counter::default());
        registry.register("alarms", "Alarm handlers that were run", alarms.clone());
        registry.register("alarms_given_up", "Alarms given up after the last attempt", alarms_given_up.clone());
        let (connections, connections_refused) = (Gauge::default(), Counter::default());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("connections_refused", "Connections refused as too many", connections_refused.clone());
        let (alarms_overdue, alarms_rearmed) = (Gauge::default(), Counter::default());
        registry.register("alarms_overdue", "Alarms overdue by more than 10 s that do not run", alarms_overdue.clone());
        registry.register("alarms_rearmed", "Lost alarms that a check armed again", alarms_rearmed.clone());
        let sockets = SocketMetrics::default();
        sockets.register(&mut registry);
        let log = LogMetrics::default();
        log.register(&mut registry);
        let memory = Family::<Purpose, Gauge>::default();
        registry.register("memory_bytes", "Bytes of the host's memory in use, by purpose", memory.clone());
        Self {
            registry,
            turns,
            failed_turns,
            abandoned_turns,
            instances_started,
            instances_evicted,
            late_work_dropped,
            calls,
            calls_not_run,
            live_instances,
            live_objects,
            fuel,
            alarms,
            alarms_given_up,
            connections,
            connections_refused,
            alarms_overdue,
            alarms_rearmed,
            sockets,
            log,
            memory,
        }
    }
}

impl Metrics {
    /// Returns the metrics in the text format of Prometheus.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}
