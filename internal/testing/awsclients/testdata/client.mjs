// A client of Lambda's API by AWS's SDK for JavaScript.
//
// It reads one JSON object a line from its standard input, and writes one back for each: the
// first says where the endpoint is and with which keys it signs, each other one is a call.

import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const require = createRequire(path.join(process.argv[2], "client.js"));
const sdk = require("@aws-sdk/client-lambda");

function open(to) {
  const config = {
    endpoint: to.URL,
    region: to.Region,
    credentials: { accessKeyId: to.Key, secretAccessKey: to.Secret, sessionToken: to.Token || undefined },
  };
  if (to.Unsigned) {
    config.signer = { sign: async (request) => request };
  }
  return new sdk.LambdaClient(config);
}

async function call(client, asked) {
  if (asked.Op === "paginate") {
    const uuids = [];
    const config = { client, pageSize: asked.PageSize, stopOnSameToken: true };
    for await (const page of sdk.paginateListEventSourceMappings(config, asked.In)) {
      uuids.push(...page.EventSourceMappings.map((m) => m.UUID));
    }
    return { UUIDs: uuids };
  }
  const given = { ...asked.In };
  if (given.StartingPositionTimestamp !== undefined) {
    given.StartingPositionTimestamp = new Date(given.StartingPositionTimestamp * 1000);
  }
  const { $metadata, ...out } = await client.send(new sdk[asked.Op + "Command"](given));
  for (const [name, value] of Object.entries(out)) {
    if (value instanceof Date) {
      out[name] = value.getTime() / 1000;
    }
  }
  return out;
}

let client;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let said;
  try {
    if (client === undefined) {
      client = open(asked);
      said = { Out: { Version: require("@aws-sdk/client-lambda/package.json").version } };
    } else {
      said = { Out: await call(client, asked) };
    }
  } catch (e) {
    said = e instanceof sdk.LambdaServiceException ? { Code: e.name, Message: e.message } : { Broken: String(e) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
