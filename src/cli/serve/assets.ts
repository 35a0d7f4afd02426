// What the ASSETS binding is bound to under `workerd serve`: the files of dist/public from workerd's disk service, with
// the content types and the index page that the hosted runtime gives them. The app asks it for every path it has no
// route for.

interface AssetsEnv {
  /** Reads a file by its path. */
  FILES: { fetch(url: string, init: { method: string }): Promise<Response> };
}

const types: Record<string, string> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
};

export default {
  async fetch(request: Request, env: AssetsEnv): Promise<Response> {
    if (request.method !== "GET" && request.method !== "HEAD") return new Response(null, { status: 405 });
    const { pathname } = new URL(request.url);
    const path = pathname.endsWith("/") ? `${pathname}index.html` : pathname;
    const file = await env.FILES.fetch(`http://files${path}`, { method: request.method });
    const length = file.headers.get("content-length");
    // A folder is answered by a JSON listing, the only answer without a length.
    if (!file.ok || length === null) return new Response(null, { status: 404 });
    const headers = {
      "content-type": types[path.slice(path.lastIndexOf(".") + 1)] ?? "application/octet-stream",
      "content-length": length,
      "cache-control": "public, max-age=0, must-revalidate",
    };
    return new Response(file.body, { headers });
  },
};
