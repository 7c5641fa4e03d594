//! Seeds of the targets `manifest` and `config`: what authors and operators write.

use super::Seed;

const SHORT: &str = "name = \"pool\"\nversion = \"0.1.0\"\nentry_point = \"pool\"\n";

pub(super) fn manifests() -> Vec<Seed> {
    let with = |more: &str| format!("{SHORT}{more}").into_bytes();
    let key = "1b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f";
    vec![
        ("short", with("")),
        ("capabilities", with("capabilities = [\"read_mempool\", \"publish:PaymentSettled\"]\ndescription = \"ü\"\n")),
        ("dependencies", with("[dependencies]\nblvm-node = \">=0.1, <1\"\nmesh = \"^0.3\"\n[optional_dependencies]\na = \"*\"\n")),
        ("compatibility", with("[compatibility]\nmin_node_version = \"0.1.0\"\nbus_layout = 2\nschemas = { chain = \"0x00000000000000ff\" }\n")),
        ("sandbox", with("sandbox = { listen = [3333, 0x1], connect = [443], memory_mb = 64, open_files = 99, cpu_percent = 150 }\n")),
        ("schema-and-topics", with("[config_schema]\nport = \"p\"\nfees.least = \"f\"\n[topics]\nmesh_packets = {}\nchain.kinds = [\"BlockConnected\"]\n")),
        ("signatures", with(&format!("[binary]\nsize = 0\n[signatures]\nthreshold = \"1-of-1\"\nmaintainers = [{{ name = \"m\", public_key = \"{key}\" }}]\n"))),
        ("wrong-trusted-keys", format!("threshold = 2\n[[keys]]\nname = \"m\"\npublic_key = \"{key}\"\nmodules = [\"pool\"]\n[modules.pool]\nthreshold = 3\n").into_bytes()),
        ("wrong-everywhere", b"nane = 1\nversion = \"1\"\nentry_point = \"../x\"\ncapabilities = [\"fly\", \"fly\"]\n[sandbox]\nlisten = [0, 70000, 1.5]\n[signatures]\nthreshold = \"3-of-2\"\n".to_vec()),
        ("wrong-syntax", with("[sandbox\n\u{1b}")),
        ("wrong-tables-in-tables", with(&format!("{}a = {{{}a = 1}}\n", "a.".repeat(40), "a.".repeat(40)))),
    ]
}

pub(super) fn configurations() -> Vec<Seed> {
    let of = |parts: [&str; 6]| parts.join("\u{1f}").into_bytes();
    let schema = "port = \"\"\nname = \"\"\nfees.least = \"\"\npeers = \"\"\n";
    vec![
        (
            "layers",
            of([
                schema,
                "port = 1\nname = \"x\"\n",
                "port = 2\nfees.least = 1.5\n",
                "[modules]\npool = { peers = { a = [1, 2] }, limits = { listen = [1] } }\n",
                "NAME=7\nFEES_LEAST=2\nOTHER=1\n",
                "modules.mesh.x=1",
            ]),
        ),
        (
            "no-schema",
            of([
                "",
                "a = 1\nb.c = nan\nd = 2026-01-01\n\"e f\" = true\n",
                "b.g = []\n",
                "# mine\n[modules]\nenabled = false\nmesh = \"0.1.*\"\n[modules.pool]\nh = \"ü\" # why\n[modules.pool.i]\nj = 1\n[module_resource_limits]\nstop_deadline_ms = 500\n",
                "A=0x10\nE_F=false\n",
                "modules.pool.h=other",
            ]),
        ),
        ("wrong-layer", of([schema, "prot = 1\n", "", "", "", ""])),
        ("wrong-wrapped", of(["", "[pool]\nport = 1\n", "", "", "", ""])),
        ("wrong-variable", of([schema, "port = 1\n", "", "", "PORT=many\n", ""])),
        ("wrong-node-file", of([schema, "", "", "[module]\nenabled = 1\n", "", "modules.enable=1"])),
        ("ambiguous", of(["a.b = \"\"\na_b = \"\"\n", "", "", "", "A_B=1\n", "modules.enabled=false"])),
        (
            "quoted-keys",
            of(["", "\"a\\nb\" = 1\n'c.d' = 2\n", "", "", "C_D=\"x\"\n", "modules.pool.\"a b\"=[1]"]),
        ),
    ]
}
