// The API about itself: the document names every route, and its schemas are those that requests are checked with.
import { describe, expect, it } from "vitest";
import type { Env } from "../../src/conversation/env.ts";
import { counter, histogram } from "../../src/conversation/metrics.ts";
import { createApp } from "../../src/http/app.ts";

const app = createApp({ modelIds: () => ["pocket"], log: () => undefined });
const ask = async (path: string) => app.request(path, undefined, { ACCESS: "open" } as Env);

type Json = Record<string, unknown>;
interface Document {
  openapi: string;
  paths: Record<string, Record<string, { operationId: string; parameters: Json[]; requestBody?: Json }>>;
  components: { schemas: Json };
}
const document = async () => (await (await ask("/openapi.json")).json()) as Document;

describe("the OpenAPI document", () => {
  it("names exactly the routes of the app", async () => {
    const { paths } = await document();
    const said = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((each) => `${each} ${path}`),
    );
    const routes = app.routes.filter(({ method }) => method !== "ALL");
    const real = routes.map(
      ({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)(\{.*?\})?/g, "{$1}")}`,
    );
    expect(said.toSorted()).toEqual([...new Set(real)].toSorted());
  });

  it("is of version 3.1, has unique operation ids, and refers to nothing that is not there", async () => {
    const made = await document();
    expect(made.openapi).toMatch(/^3\.1\./);
    const ids = Object.values(made.paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
    const references = [...JSON.stringify(made).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
    expect(references.length).toBeGreaterThan(10);
    for (const path of references) {
      const found = path.split("/").reduce<unknown>((at, key) => (at as Json | undefined)?.[key], made);
      expect(found, path).toBeTypeOf("object");
    }
  });

  it("says what callers write, where schemas begin with code", async () => {
    const { paths } = await document();
    const body = paths["/v1/responses"]?.["post"]?.requestBody as {
      content: { "application/json": { schema: { required: string[]; properties: Record<string, Json> } } };
    };
    const { required, properties } = body.content["application/json"].schema;
    expect(required).toEqual(["input"]);
    expect(properties["input"]).toMatchObject({ anyOf: [{ type: "string" }, { type: "array" }] });
    expect(properties["stop"]).toMatchObject({
      anyOf: [{ type: ["string", "null"] }, { type: "array", maxItems: 16 }],
    });
    expect(JSON.stringify(paths)).not.toContain('"written"');
  });
});

describe("metrics", () => {
  it("count requests by route, never by path", async () => {
    await ask("/v1/models/pocket");
    await ask("/v1/models/nobody");
    const text = await (await ask("/metrics")).text();
    expect(text).toMatch(/^# TYPE griffin_requests_total counter$/m);
    expect(text).toMatch(/^griffin_requests_total\{method="GET",route="\/v1\/models\/:id\{.\+\}",status="404"\} \d+$/m);
    expect(text).toMatch(/^griffin_request_seconds_bucket\{route="[^"]*",le="\+Inf"\} \d+$/m);
    expect(text).not.toContain("nobody");
  });

  it("are written as Prometheus reads them", async () => {
    const add = counter("test_total", "A counter.");
    add({ kind: 'a "b"\n\\c' });
    add({ kind: 'a "b"\n\\c' }, 2);
    const observe = histogram("test_seconds", "A histogram.", [1, 2]);
    for (const value of [0.5, 1, 1.5, 3]) observe({}, value);
    const text = await (await ask("/metrics")).text();
    expect(text).toContain('test_total{kind="a \\"b\\"\\n\\\\c"} 3\n');
    expect(text).toContain(
      [
        "# HELP test_seconds A histogram.",
        "# TYPE test_seconds histogram",
        'test_seconds_bucket{le="1"} 2',
        'test_seconds_bucket{le="2"} 3',
        'test_seconds_bucket{le="+Inf"} 4',
        "test_seconds_sum 6",
        "test_seconds_count 4\n",
      ].join("\n"),
    );
  });
});
