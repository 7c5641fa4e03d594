//! The bytes of a manifest that count: every value of it but `[signatures]`, whatever its layout, order and comments.

use toml::Value;

use super::tagged_hash;

/// What the hash of a manifest begins with.
const TAG: &str = "blvm/manifest/1";

/// The table that holds the signatures themselves.
const LEFT_OUT: &str = "signatures";

/// The hash of a manifest without its signatures.
pub(crate) fn content_sha256(manifest: &toml::Table) -> [u8; 32] {
    let mut bytes = Vec::new();
    let content: toml::Table = manifest
        .iter()
        .filter(|(key, _)| *key != LEFT_OUT)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    table(&content, &mut bytes);
    tagged_hash(TAG, &bytes)
}

/// `t`, how many keys, and each with its value, sorted by the bytes of the keys.
fn table(table: &toml::Table, to: &mut Vec<u8>) {
    to.push(b't');
    length(table.len(), to);
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_bytes());
    for (key, inner) in entries {
        text(key, to);
        value(inner, to);
    }
}

fn value(value_: &Value, to: &mut Vec<u8>) {
    match value_ {
        Value::String(string) => {
            to.push(b's');
            text(string, to);
        }
        Value::Integer(integer) => {
            to.push(b'i');
            to.extend(integer.to_le_bytes());
        }
        Value::Float(float) => {
            to.push(b'f');
            to.extend(float.to_bits().to_le_bytes());
        }
        Value::Boolean(boolean) => to.extend([b'b', u8::from(*boolean)]),
        Value::Datetime(datetime) => {
            to.push(b'd');
            text(&datetime.to_string(), to);
        }
        Value::Array(array) => {
            to.push(b'a');
            length(array.len(), to);
            array.iter().for_each(|inner| value(inner, to));
        }
        Value::Table(inner) => table(inner, to),
    }
}

/// The length in bytes, and the bytes.
fn text(text: &str, to: &mut Vec<u8>) {
    length(text.len(), to);
    to.extend(text.as_bytes());
}

/// As `u32`, little-endian: a file is far shorter than that.
fn length(length: usize, to: &mut Vec<u8>) {
    to.extend((length as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        table(&text.parse().unwrap(), &mut bytes);
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let expected = [
            &b"t\x04\0\0\0"[..],
            b"\x01\0\0\0Bb\x01",
            b"\x01\0\0\0ai\xfe\xff\xff\xff\xff\xff\xff\xff",
            b"\x02\0\0\0abs\x02\0\0\0\xc3\xbc",
            b"\x01\0\0\0ca\x02\0\0\0i\x01\0\0\0\0\0\0\0t\0\0\0\0",
        ]
        .concat();
        assert_eq!(bytes("c = [1, {}]\nab = \"ü\"\nB = true\na = -2\n"), expected);
    }

    #[test]
    fn layout_does_not_count_and_every_value_does() {
        let content = |text: &str| content_sha256(&text.parse().unwrap());
        let first = content("a = 1\n[sandbox]\nlisten = [1, 2]\n");
        assert_eq!(first, content("# a comment\nsandbox = { listen = [ 0x1, 2 ] }\na = +1"));
        assert_eq!(first, content("a = 1\nsandbox.listen = [1, 2]\n[signatures]\nthreshold = \"1-of-1\"\n"));
        for other in [
            "a = 2\n[sandbox]\nlisten = [1, 2]\n",
            "a = \"1\"\n[sandbox]\nlisten = [1, 2]\n",
            "a = 1\n[sandbox]\nlisten = [2, 1]\n",
            "a = 1\n[sandbox]\nlisten = [1]\n",
            "a = 1\n[sandbox]\nlisten = [1, 2]\nconnect = []\n",
            "a = 1\n[sandbox]\nlisten = [[1], 2]\n",
            "a = 1\n[sandbox.signatures]\n[sandbox]\nlisten = [1, 2]\n",
        ] {
            assert_ne!(first, content(other), "{other}");
        }
    }
}
