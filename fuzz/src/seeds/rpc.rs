//! Seeds of the target `rpc`: requests, batches and mistakes.

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let call = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}"#)
    };
    let notification = r#"{"jsonrpc": "2.0", "method": "stop"}"#;
    let named = |text: &str| text.as_bytes().to_vec();
    vec![
        ("by-name", named(&call("loadmodule", r#"{"name": "block-watch"}"#))),
        ("by-order", named(&call("runmodulecli", r#"["lightning", ["pay", "-v"]]"#))),
        ("no-parameters", named(r#"{"jsonrpc": "2.0", "id": "a", "method": "getbusinfo"}"#)),
        ("help", named(&call("help", r#"{"method": "lodmodule"}"#))),
        ("of-a-module", named(&call("echo", r#"{"a": [1, 2.5e300, "\ud83d\ude00"], "b": null}"#))),
        ("a-module-fails", named(&call("fail", "[]"))),
        ("nearly-known", named(&call("getbusinof", "[]"))),
        ("wrong-parameters", named(&call("loadmodule", r#"{"nmae": 7}"#))),
        ("notification", named(notification)),
        ("batch", named(&format!("[{}, {notification}, 5, {}]", call("stop", "[]"), call("nosuch", "{}")))),
        ("too-many-calls", named(&format!("[{}]", [notification; 9].join(", ")))),
        ("empty-batch", named("[]")),
        ("cut-short", named(r#"{"jsonrpc": "2.0", "id": 1, "meth"#)),
        ("another-version", named(r#"{"jsonrpc": "1.0", "id": 1, "method": "stop"}"#)),
        ("a-strange-id", named(r#"{"jsonrpc": "2.0", "id": {"a": []}, "method": "stop"}"#)),
        ("deep", named(&format!("{}{}", "[".repeat(300), "]".repeat(300)))),
    ]
}
