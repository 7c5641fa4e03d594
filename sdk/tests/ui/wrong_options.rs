use blvm_sdk::prelude::*;

struct Watch;

#[module(threads = 4)]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }
}

#[module(concurrency = 0)]
impl Other {}

#[module(wait = Sleep)]
impl Other {}

#[module(name = "My Module")]
impl Other {}

struct Other;

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
