//! The token of one run: who can read its file may attach by path.

use std::fmt::{self, Write};
use std::hint::black_box;
use std::io::{self, Read};
use std::path::Path;

use rkyv::{Archive, Deserialize, Serialize};

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 32;

/// Most of a token's file that is read: the digits, and a line break of any system.
const FILE_BYTES: u64 = 2 * TOKEN_BYTES as u64 + 2;

/// A secret of one run of the node. Shows nothing of itself in logs.
#[derive(Clone, Eq, Archive, Serialize, Deserialize)]
pub struct Token([u8; TOKEN_BYTES]);

/// Why there is no token in a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the token cannot be read: only the node's user may")]
    Read(#[source] io::Error),
    /// It holds something else.
    #[error("the token is not {} hexadecimal digits", 2 * TOKEN_BYTES)]
    Malformed,
}

impl Token {
    /// A token of these bytes.
    pub const fn new(bytes: [u8; TOKEN_BYTES]) -> Self {
        Token(bytes)
    }

    /// A fresh one from the system's random numbers.
    ///
    /// # Errors
    ///
    /// What reading `/dev/urandom` says.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Token(bytes))
    }

    /// Reads the file the node has written.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(TokenError::Read)?;
        match file.take(FILE_BYTES).read_to_string(&mut text) {
            Ok(_) => Token::from_hex(text.trim_end()).ok_or(TokenError::Malformed),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(TokenError::Malformed),
            Err(error) => Err(TokenError::Read(error)),
        }
    }

    /// The token as its file holds it: hexadecimal digits, without a line break.
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The token that [`to_hex`](Self::to_hex) wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != TOKEN_BYTES || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; TOKEN_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            // Two digits are below 256.
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Some(Token(bytes))
    }
}

impl PartialEq for Token {
    /// Takes the same time wherever the first difference is: the time of a refusal tells nothing about the token.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        black_box(pairs.fold(0, |differing, (a, b)| black_box(differing | (a ^ b)))) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_everything_else_is_refused() {
        let directory = tempfile();
        let path = directory.join("token");
        let token = Token::random().unwrap();
        assert_ne!(token, Token::random().unwrap());
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&path, token.to_hex() + end).unwrap();
            assert_eq!(Token::read(&path).unwrap(), token);
        }
        let text = token.to_hex();
        let long = format!("{text}00");
        for wrong in
            ["", &text[1..], &text[2..], &long, &text.replace(&text[..1], "g"), "é", &"+1".repeat(32)]
        {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(Token::read(&path), Err(TokenError::Malformed)), "{wrong}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(Token::read(&path), Err(TokenError::Read(_))));
    }

    fn tempfile() -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("blvm-token-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn tokens_that_differ_in_one_bit_are_different_and_none_is_shown() {
        let token = Token::new([7; TOKEN_BYTES]);
        for bit in 0..TOKEN_BYTES * 8 {
            let mut other = token.clone();
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(token, other);
        }
        assert_eq!(token, token.clone());
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
