// The administrators' side of a server that asks for keys.
export interface Admin {
  createTenant(name: string, limits?: object): Promise<{ id: string }>;
  updateTenant(id: string, change: object): Promise<object>;
  createKey(tenant: string, key: object): Promise<{ id: string; secret: string }>;
  usage(tenant: string): Promise<{ data: object[] }>;
}

export function administrator(url: string, key: string): Admin {
  const call = async (method: string, path: string, body?: object) => {
    const answer = await fetch(`${url}/v1/admin${path}`, {
      method,
      headers: { authorization: `Bearer ${key}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  return {
    createTenant: (name, limits) =>
      call("POST", "/tenants", { name, ...(limits && { limits }) }) as Promise<{ id: string }>,
    updateTenant: (id, change) => call("POST", `/tenants/${id}`, change) as Promise<object>,
    createKey: (tenant, body) =>
      call("POST", `/tenants/${tenant}/keys`, body) as Promise<{ id: string; secret: string }>,
    usage: (tenant) => call("GET", `/tenants/${tenant}/usage`) as Promise<{ data: object[] }>,
  };
}
