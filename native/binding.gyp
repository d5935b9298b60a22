# The core as a static library (no Node header), its tests, and the addon. `-- -Dsanitize=thread`
# (or address,undefined) builds all of it with a sanitizer. fuzz/*.cc is built by scripts/fuzz.mjs.
{
  'variables': {
    'sanitize%': '',
    # Whether the compiler links objects of its inner form, beside plain ones.
    'lto%': "<!(echo 'int main(){}' | ${CXX:-g++} -x c++ -flto=auto -ffat-lto-objects -o /dev/null - 2>/dev/null && echo 1 || echo 0)",
  },
  'target_defaults': {
    'cflags_cc': [
      '-std=c++20', '-O2', '-fno-exceptions', '-fvisibility=hidden',
      '-Wall', '-Wextra', '-Wshadow', '-Wconversion',
    ],
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-O3'],
    'conditions': [
      ['sanitize!=""', {
        'cflags': ['-fsanitize=<(sanitize)', '-fno-omit-frame-pointer', '-g'],
        'ldflags': ['-fsanitize=<(sanitize)'],
      }, {
        # The core is many small functions, and a switch of processes leaves their pages cold.
        # Tests are linked without it, which is quicker.
        'conditions': [['lto==1', {
          'cflags': ['-flto=auto', '-ffat-lto-objects'],
          'ldflags': ['-flto=auto', '-O2'],
        }]],
      }],
    ],
  },
  'targets': [
    {
      'target_name': 'dvk_core',
      'type': 'static_library',
      'sources': ["<!@(cd <(module_root_dir) && ls core/*.cc)"],
      'cflags': ['-fPIC'],
    },
    {
      'target_name': 'dvk',
      'dependencies': ['dvk_core'],
      'sources': ["<!@(cd <(module_root_dir) && ls binding/*.cc)"],
      'defines': [
        'NAPI_VERSION=9',
        'NAPI_DISABLE_CPP_EXCEPTIONS',
        # A Worker that is told to terminate can no longer throw, and must not abort the process.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      # node-addon-api, as system headers: our warnings are not for them.
      'cflags_cc': ['-isystem<(module_root_dir)/../node_modules/node-addon-api'],
      # A signal handler may point into the addon, so it stays loaded when the Worker that loaded it
      # ends.
      'ldflags': ['-Wl,-z,nodelete'],
    },
    {
      'target_name': 'dvk_bench',
      'type': 'executable',
      'dependencies': ['dvk_core'],
      'sources': ["<!@(cd <(module_root_dir) && ls bench/*.cc)"],
      'ldflags': ['-pthread'],
    },
    # The C interface, native/include/dvk.h and dvk_fs.h.
    {
      'target_name': 'libdvk',
      'type': 'shared_library',
      'product_name': 'dvk',
      'product_prefix': 'lib',
      'product_dir': '<(PRODUCT_DIR)',
      'dependencies': ['dvk_core'],
      'sources': ["<!@(cd <(module_root_dir) && ls library/*.cc)"],
      'include_dirs': ['include'],
      'cflags': ['-fPIC'],
      'ldflags': ['-pthread', '-Wl,--version-script=<(module_root_dir)/library/dvk.map'],
    },
  ],
  'conditions': [
    ['"<!(cd <(module_root_dir) && ls test/*.cc 2>/dev/null | head -n 1)"!=""', {
      'targets': [
        {
          'target_name': 'dvk_core_test',
          'type': 'executable',
          'dependencies': ['dvk_core'],
          'sources': ["<!@(cd <(module_root_dir) && ls test/*.cc)"],
          'ldflags': ['-pthread', '-fno-lto'],
        },
        # The core once more, with the places where the crash matrix stops processes. Nothing else
        # is made of these objects.
        {
          'target_name': 'dvk_crash_test',
          'type': 'executable',
          'defines': ['DVK_CRASH_POINTS'],
          'cflags_cc': ['-O1', '-fno-lto'],
          'cflags_cc!': ['-O2'],
          'sources': [
            "<!@(cd <(module_root_dir) && ls core/*.cc crash/*.cc)",
            'test/support.cc',
          ],
          'ldflags': ['-pthread', '-fno-lto'],
        },
      ],
    }],
  ],
}
