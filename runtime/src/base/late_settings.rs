//! The settings of a class about late work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a class says about late work; each deploy that does not say it keeps the present setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateSettings {
    /// Whether handlers may defer their answers, so that other events come before they have ended.
    pub interleave: bool,
    /// Seconds after its last event from outside for which resumes may hold an instance, at most the host's
    /// (`late-seconds`); none takes the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_seconds: Option<u32>,
}

impl Default for LateSettings {
    fn default() -> Self {
        Self { interleave: true, late_seconds: None }
    }
}

impl LateSettings {
    /// Returns whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the time for which resumes may hold an instance, where the host allows this much.
    pub fn holds(&self, host: Duration) -> Duration {
        self.late_seconds.map_or(host, |seconds| host.min(Duration::from_secs(seconds.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_an_instance_no_longer_than_the_host_allows() {
        let host = Duration::from_secs(120);
        let holds = |late_seconds| LateSettings { interleave: true, late_seconds }.holds(host).as_secs();
        assert_eq!([holds(None), holds(Some(0)), holds(Some(7)), holds(Some(500))], [120, 0, 7, 120]);
    }
}
