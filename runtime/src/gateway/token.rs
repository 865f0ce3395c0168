//! The admin token and its check.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq;

/// The secret that grants access to the admin listener. Never printed.
#[derive(Clone)]
pub struct AdminToken(Arc<str>);

impl AdminToken {
    /// Creates the token with this text. An empty token admits no request.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// Reports whether a request with these headers carries the token; compares in a time that depends on its length
    /// only.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let token = sent.and_then(|sent| {
            let (scheme, token) = sent.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
        });
        token.is_some_and(|token| !token.is_empty() && bool::from(token.ct_eq(self.0.as_bytes())))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_admits() {
        let token = AdminToken::new("s3cret");
        let sent = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(token.admits(&sent(good)), "{good}");
        }
        for bad in
            ["", "Bearer", "Bearer ", "s3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3cret2", "Bearer S3cret"]
        {
            assert!(!token.admits(&sent(bad)), "{bad}");
        }
        assert!(!token.admits(&HeaderMap::new()));
        assert!(!AdminToken::new("").admits(&sent("Bearer ")));
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
