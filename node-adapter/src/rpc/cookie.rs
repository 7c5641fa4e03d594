//! The secret of one run: who can read its file may call.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use blvm_bus::request::Token;
use hyper::header::HeaderValue;

use crate::private_file;

/// Name of the file in the data directory.
///
/// Source: `COOKIEAUTH_FILE` in Bitcoin Core's `src/rpc/request.cpp`.
pub const COOKIE_NAME: &str = ".cookie";

/// The user that the cookie names.
///
/// Source: `COOKIEAUTH_USER` in Bitcoin Core's `src/rpc/request.cpp`.
pub const USER: &str = "__cookie__";

/// A fresh secret. Shows nothing of itself in logs.
#[derive(Debug)]
pub(super) struct Cookie(Token);

impl Cookie {
    /// A fresh one, written to `directory`.
    pub(super) fn write(directory: &Path) -> io::Result<Self> {
        let cookie = Cookie(Token::random()?);
        private_file::replace(&directory.join(COOKIE_NAME), &format!("{USER}:{}", cookie.0.to_hex()))?;
        Ok(cookie)
    }

    /// Whether an `Authorization` header shows it. The time it takes tells nothing about the secret.
    pub(super) fn is_shown_by(&self, header: &HeaderValue) -> bool {
        shown(header).is_some_and(|token| token == self.0)
    }
}

/// The `Authorization` header that shows the cookie in `directory`, the data directory of a running node.
///
/// # Errors
///
/// What reading the file says.
pub fn authorization(directory: &Path) -> io::Result<HeaderValue> {
    let cookie = std::fs::read_to_string(directory.join(COOKIE_NAME))?;
    let header = format!("Basic {}", BASE64_STANDARD.encode(cookie.trim_end()));
    HeaderValue::from_str(&header).map_err(io::Error::other)
}

/// The secret in a header of HTTP Basic (RFC 7617).
fn shown(header: &HeaderValue) -> Option<Token> {
    let (scheme, credentials) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    if user == USER { Token::from_hex(password) } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn header(scheme: &str, credentials: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("{scheme} {}", BASE64_STANDARD.encode(credentials))).unwrap()
    }

    #[test]
    fn only_the_whole_cookie_of_this_run_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let old = Cookie::write(directory.path()).unwrap();
        let cookie = Cookie::write(directory.path()).unwrap();
        let path = directory.path().join(COOKIE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no other file stays");
        assert!(cookie.is_shown_by(&authorization(directory.path()).unwrap()));
        for scheme in ["Basic", "basic", "BASIC"] {
            assert!(cookie.is_shown_by(&header(scheme, &text)));
        }
        assert!(!old.is_shown_by(&header("Basic", &text)));
        let secret = text.strip_prefix("__cookie__:").unwrap();
        for wrong in [
            "",
            USER,
            secret,
            &text[..text.len() - 1],
            &format!("{text}0"),
            &format!("root:{secret}"),
            "__cookie__:",
        ] {
            assert!(!cookie.is_shown_by(&header("Basic", wrong)), "{wrong}");
        }
        assert!(!cookie.is_shown_by(&header("Bearer", &text)));
        for malformed in ["Basic", "Basic ", "Basic %%%", "Basic /w==", ""] {
            assert!(!cookie.is_shown_by(&HeaderValue::from_str(malformed).unwrap()), "{malformed}");
        }
        assert!(!cookie.is_shown_by(&HeaderValue::from_bytes(b"Basic \xff").unwrap()));
        assert!(!format!("{cookie:?}").contains(secret));
    }
}
