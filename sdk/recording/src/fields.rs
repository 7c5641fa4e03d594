//! Numbers and bytes in a row, little-endian, as they stand in the file.

/// Takes fields from the front of some bytes; `None` where they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text of at most 255 bytes, its length before it. It ends up on terminals: one with control characters is none.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.u8()?;
        let text = core::str::from_utf8(self.bytes(length.into())?).ok()?;
        (!text.contains(char::is_control)).then_some(text)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Adds a text as [`Fields::text`] takes it: `?` for each control character, and what is beyond 255 bytes is cut off.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text.replace(char::is_control, "?");
    let text = &text[..text.floor_char_boundary(u8::MAX.into())];
    // Cut to that.
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_control_characters_is_neither_written_nor_read() {
        let mut out = Vec::new();
        put_text(&mut out, "reg\x1b[2Jtest\nwhole");
        assert_eq!(Fields(&out).text(), Some("reg?[2Jtest?whole"));
        for hostile in ["\x1b[2J", "a\nwhole", "\u{9b}31m"] {
            let bytes = [&[hostile.len() as u8], hostile.as_bytes()].concat();
            assert_eq!(Fields(&bytes).text(), None, "{hostile:?}");
        }
    }
}
