use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[command]
    fn level(&self) -> u32 {
        7
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
