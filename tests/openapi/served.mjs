// What `./test openapi` runs: schemathesis against a server with a seeded journal, of its own.
//
// OFFHOOK is the program, SCHEMATHESIS the other one, SECONDS how long it may take.

import { spawn } from "node:child_process";

import { Served, TOKEN } from "../browser/served.mjs";

const { OFFHOOK, SCHEMATHESIS, SECONDS = "60" } = process.env;
const served = await Served.start(OFFHOOK, "seeded");
let status = 1;
try {
  const config = new URL("schemathesis.toml", import.meta.url).pathname;
  const document = new URL("../../src/admin/openapi.json", import.meta.url).pathname;
  const child = spawn(SCHEMATHESIS, [
    "--config-file", config, "run", document, "--url", served.base.slice(0, -1), "--header", `Authorization: Bearer ${TOKEN}`, "--max-time", SECONDS,
  ], { cwd: served.folder, stdio: "inherit" });
  status = await new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
  if (served.child.exitCode !== null) throw new Error(`the server has ended: ${served.log}`);
} finally {
  await served.stop();
}
process.exitCode = status;
