declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

declare module "cloudflare:test" {
  export const env: { ASSETS: { fetch(input: string): Promise<Response> } };
}
