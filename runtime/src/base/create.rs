//! The class setting that says who may create objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of turns that may create an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    /// Any turn that leaves something stored, empty tables included.
    Any,
    /// The same, except for a request that is answered with status 400 or higher and whose handler stored no row, no
    /// key and no alarm and accepted no socket. Such a request leaves nothing stored, whatever the constructor and
    /// migrations made.
    #[default]
    Stored,
    /// Only other objects and the admin API. A request from outside to an object that has stored nothing is refused.
    Internal,
}

/// The text is not one of the three values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `any`, `stored` or `internal`")]
pub struct NotCreate;

impl Create {
    const ALL: [Self; 3] = [Self::Any, Self::Stored, Self::Internal];

    /// Returns the value's name in files, URLs and output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Stored => "stored",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Create {
    type Err = NotCreate;

    fn from_str(text: &str) -> Result<Self, NotCreate> {
        Self::ALL.into_iter().find(|create| create.word() == text).ok_or(NotCreate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_same_everywhere() {
        for create in Create::ALL {
            assert_eq!(create.word().parse(), Ok(create));
            assert_eq!(serde_json::to_value(create).unwrap(), create.word());
        }
        assert_eq!("Stored".parse::<Create>(), Err(NotCreate));
    }
}
