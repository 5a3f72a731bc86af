// A Lambda function for tests, as users write one. The value of the first
// record says what it does, as in the function in Go beside it.
import fs from "node:fs";
import http from "node:http";
import process from "node:process";

if (process.env.FUNCTION_INIT === "exit") {
  console.error("this function cannot begin");
  process.exit(7);
}
if (process.env.FUNCTION_INIT === "hang") {
  await new Promise((resolve) => setTimeout(resolve, 3600_000));
}

function remember(event, context) {
  const name = process.env.FUNCTION_SEEN;
  if (!name) return;
  const line = {
    request: context.awsRequestId,
    arn: context.invokedFunctionArn,
    deadline: context.getRemainingTimeInMillis() > 0,
    pid: process.pid,
    at: Date.now() * 1e6,
    event,
  };
  fs.appendFileSync(`${name}.${process.pid}`, JSON.stringify(line) + "\n");
}

async function twice(context) {
  // Not fetch: it sends Sec-Fetch-Mode, as a browser does.
  const url = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/${context.awsRequestId}/response`;
  await new Promise((resolve, reject) => {
    const request = http.request(url, { method: "POST" }, (response) => response.resume().on("end", resolve));
    request.on("error", reject).end('"the first answer"');
  });
  throw new Error("the second answer");
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function handler(event, context) {
  remember(event, context);
  let what = "";
  let argument = "";
  for (const records of Object.values(event.records)) {
    if (records.length > 0 && records[0].value !== null) {
      const text = Buffer.from(records[0].value, "base64").toString();
      const at = text.indexOf(" ");
      what = at < 0 ? text : text.slice(0, at);
      argument = at < 0 ? "" : text.slice(at + 1);
    }
  }
  switch (what) {
    case "error":
      throw new Error("told to fail");
    case "panic":
      process.abort();
      break;
    case "exit":
      process.exit(3);
      break;
    case "hang":
      await sleep(3600_000);
      break;
    case "sleep":
      await sleep(parseFloat(argument));
      break;
    case "answer":
      return JSON.parse(argument);
    case "large":
      return "x".repeat(7 << 20);
    case "flood":
      for (let i = 0; i < 5000; i++) console.log("y".repeat(1000));
      break;
    case "say":
      console.log(argument);
      break;
    case "twice":
      await twice(context);
      break;
    case "grow": {
      const grown = [];
      for (let i = 0; i < 64; i++) {
        grown.push(Buffer.alloc(16 << 20, 1));
        await sleep(20);
      }
      await sleep(3600_000);
      break;
    }
  }
  return "what a function returns is no matter";
}
