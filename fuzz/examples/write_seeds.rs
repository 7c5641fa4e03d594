//! Writes the committed corpus anew: run it after a change to the layout, the messages or the requests.
#![forbid(unsafe_code)]

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    for (target, seeds) in blvm_fuzz::seeds::all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (name, seed) in seeds {
            fs::write(folder.join(format!("{name}.seed")), seed)?;
        }
    }
    Ok(())
}
