import { describe, expect, it } from 'vitest';
import { checkCallerName } from '../../domain/auth/callerNames.js';
import { normalizeName } from '../../domain/names.js';

const rulesOf = (name: string): string[] => checkCallerName('name', normalizeName(name)).map(({ rule }) => rule);

describe('the name of an API key', () => {
  it.each([
    ...['lims', 'LIMS 2', 'sequencer-AV240001', 'nightly export (Basel)', 'default lab', 'polony-backup', 'by-root'],
    ...['Zürich', 'Łódź', 'naïve', "O'Neill", '2º laboratorio', 'café №5', 'root cause analysis', 'key', 'system 7'],
    ...['лаборатория', 'лаборатория 2', 'ЛИМС-1', 'сору', 'εργαστήριο', 'ΛΙΜΣ', 'лаборатория AVITI', 'тест AVITI'],
    ...[
      '検体管理',
      '検体LIMS',
      'シーケンサー 2',
      '실험실',
      '實驗室',
      'ラボ-LIMS',
      'מעבדה',
      'مختبر ٢',
      'प्रयोगशाला',
      'ห้องปฏิบัติการ',
    ],
    ...['լաբորատորիա', 'ლაბორატორია', 'β-test', 'µ-lims', 'lims (replaced, 1a2b3c4d)', 'lims 🧬'],
    ...['β2m', 'TNFα', 'TNF-α', 'IL1β reader', 'IFNγ', 'NF-κB', 'CD3ε', 'ΔF508', 'ΔΔCt', 'φX174', '5 μl', 'λgt11'],
  ])('may be %s', (name) => {
    expect(rulesOf(name)).toEqual([]);
  });

  it.each([
    ...['via Temporal, not authenticated', 'not authenticated', 'Not-Authenticated', 'anonymous', 'Anonymous user'],
    ...['unauthenticated', 'lims (not authenticated)', 'viaTemporal', 'via Temporal', 'lims via temporal', 'Temporal'],
    ...['default!', '"default"', '‹default›', 'd.e.f.a.u.l.t', 'défault', 'DEFAULT', 'defau1t', 'defauIt', 'defau|t'],
    ...[
      'r00t',
      'the root key',
      'root key',
      'polony itself',
      'po1ony',
      'p0lony',
      'systern',
      'the system',
      'system user',
    ],
    ...[
      'ｄｅｆａｕｌｔ',
      '𝐝𝐞𝐟𝐚𝐮𝐥𝐭',
      'ⓓⓔⓕⓐⓤⓛⓣ',
      'roοt',
      'ехрігу',
      'ро1опу',
      'ꓓꓰꓝꓮꓴꓡꓔ',
      'ѕуѕтем',
      'events',
      'expiry',
      'defaµlt',
      'defaμlt',
    ],
    ...['person:u-1', 'Person : x', 'person：u-1', '01920000-0000-7000-8000-000000000004', 'anonymous-caller'],
  ])('must not be %s, which stands for another caller', (name) => {
    expect(rulesOf(name)).toEqual(['NAME_RESERVED']);
  });

  it.each([
    ...['lіms', 'Lіms 2', 'lims-аnalysis', 'аviti', 'AVITІ', 'lιms', 'limѕ', 'LΙMS', 'сору lims', 'lims ТЕСТ'],
    ...['lims-о', 'liмs', 'li1мs', 'lims օ', 'ꓡims', 'Ꮮims', 'ЛИMС', 'εργαστήpιο', 'مختبرlims', 'ラボлаб'],
    ...['limsα', 'εvents 2', 'LΙMSβ', 'liβmѕ', 'TNFα-lаb', 'evαn', 'LIMΣ'],
    ...['𝐥𝐢𝐦𝐬', 'ｌｉｍｓ', 'ﬁle-key', 'lims𝟏', 'Ⅷ-lims', 'i\u0307-lims', 'e\u0301\u0301-lims'],
  ])('must not be %s, which looks like another name', (name) => {
    expect(rulesOf(name)).toEqual(['NAME_LOOKALIKE']);
  });

  it.each([0x1d159, 0x200b, 0x034f, 0x115f, 0x1160, 0x3164, 0xffa0, 0x17b4, 0xfe0f, 0xe0100, 0xfffc, 0x13441, 0x2062])(
    'must not have the invisible character %#x',
    (code) => {
      const sign = String.fromCodePoint(code);
      for (const name of [`li${sign}ms`, `lims${sign}`, sign]) expect(rulesOf(name)).toContain('NAME_INVISIBLE');
    },
  );

  it('must not have characters that Unicode does not define', () => {
    for (const name of ['lims\u{e000}', 'lims\u{10fffd}', 'lims\u0378'])
      expect(rulesOf(name)).toEqual(['NAME_CHARACTERS']);
  });

  it('is checked with a message that names the word', () => {
    expect(checkCallerName('name', 'the lіms')[0]).toEqual({
      field: 'name',
      rule: 'NAME_LOOKALIKE',
      message: expect.stringMatching(/must not mix alphabets .*"lіms"/) as string,
    });
  });
});
