// The page at /docs: swagger-ui with the server's own document.

interface SwaggerUi {
  (options: { url: string; domNode: Element | null; deepLinking: boolean; tryItOutEnabled: boolean }): void;
}

declare const SwaggerUIBundle: SwaggerUi;

SwaggerUIBundle({
  url: "/openapi.json",
  domNode: document.querySelector("#docs"),
  deepLinking: true,
  tryItOutEnabled: true,
});
