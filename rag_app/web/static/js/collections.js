// The collection picker's numbers, after documents came or went.

import { request } from "./api.js";
import { byId } from "./dom.js";

export async function recount() {
  const { collections } = await request("GET", "/v1/collections");
  const documents = new Map(collections.map((one) => [one.name, one.documents]));
  for (const option of byId("collection").options) {
    if (documents.has(option.value)) {
      option.textContent = `${option.value} (${documents.get(option.value)})`;
    }
  }
}
