/** Reading listings fast: the same as the SDK for what is recognised, nothing for what is not. */
import { describe, expect, it } from "vitest";
import { parseListing } from "../../../src/objectstore/s3/s3-list-xml.ts";

const HEAD =
  '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>';

describe("listings", () => {
  it("are read with entities, owners and missing fields", () => {
    const xml = `${HEAD}<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken><EncodingType>url</EncodingType>
      <Contents><Key>p/a&lt;b&#10;&#x1F600;</Key><LastModified>2026-11-23T05:33:28.000Z</LastModified><ETag>&quot;abc&quot;</ETag><Size>12</Size>
        <Owner><ID>me</ID><DisplayName>Key</DisplayName></Owner><StorageClass>GLACIER</StorageClass></Contents>
      <Contents><Key>p/z</Key><Size>0</Size></Contents>
      <CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes></ListBucketResult>\n`;
    expect(parseListing(xml)).toEqual({
      IsTruncated: true,
      Name: "b",
      EncodingType: "url",
      NextContinuationToken: "a&b==",
      Contents: [
        { Key: "p/a<b\n😀", Size: 12, ETag: '"abc"', LastModified: new Date("2026-11-23T05:33:28Z"), StorageClass: "GLACIER" },
        { Key: "p/z", Size: 0, ETag: undefined, LastModified: undefined, StorageClass: undefined },
      ],
      CommonPrefixes: [{ Prefix: "p/d/" }],
    });
  });

  it("may be empty", () => {
    expect(parseListing(`${HEAD}<IsTruncated>false</IsTruncated></ListBucketResult>`)).toMatchObject({
      IsTruncated: false,
      Contents: [],
      CommonPrefixes: [],
    });
  });

  it.each([
    ["an error", "<Error><Code>InternalError</Code></Error>"],
    ["an answer cut short", `${HEAD}<IsTruncated>false</IsTruncated><Contents><Key>a</Key>`],
    ["CDATA", `${HEAD}<IsTruncated>false</IsTruncated><Contents><Key><![CDATA[a]]></Key><Size>1</Size></Contents></ListBucketResult>`],
    ["an object without size", `${HEAD}<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>`],
    ["no truncation mark", `${HEAD}</ListBucketResult>`],
    ["nothing", ""],
  ])("leave the rest to the SDK: %s", (_, xml) => {
    expect(parseListing(xml)).toBeUndefined();
  });
});
