use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[rpc]
    fn level(&self) -> Level {
        Level
    }
}

struct Level;

impl Watch {
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
