/** A store of a test with some of its methods replaced. */
import type { ObjectStore } from "../../src/objectstore/objectstore.ts";

/** `store`, but what `overrides` has comes from there. */
export function overriding(store: ObjectStore, overrides: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get: (target, name) => {
      const override: unknown = Reflect.get(overrides, name);
      if (override !== undefined) return override;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
