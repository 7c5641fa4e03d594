use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[every("10 seconds")]
    fn first(&self) {}

    #[every(10)]
    fn second(&self) {}

    #[every("10s")]
    fn third(&self, when: u64) {
        let _ = when;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
